package timing

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// lateWindow is how long the lateness of a tick is remembered, at least; at most twice that.
const lateWindow = 10 * time.Second

// Lateness is how late a loop was lately. The zero Lateness has seen no tick.
type Lateness struct {
	last, since shard.Instant
	now, before time.Duration // the most in this window, and in the one before
}

// Note takes the instant at which a tick was looked at; ticks are due `every` so often.
func (l *Lateness) Note(at shard.Instant, every time.Duration) {
	if !l.last.IsZero() {
		l.now = max(l.now, l.last.PermissionAge(at)-every)
	}
	if l.last = at; l.since.WaitAge(at) >= lateWindow {
		l.since, l.before, l.now = at, l.now, 0
	}
}

// Most is by how much a tick was late at most, in the last 10 to 20 s.
func (l *Lateness) Most() time.Duration { return max(l.now, l.before) }
