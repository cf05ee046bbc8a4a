package timing

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	jumpTolerance = 500 * time.Millisecond
	jumpWindow    = 10 * time.Minute // clocks are compared over so long: what counts is time lost within a lease
	jumpsMost     = 3                // consecutive renewals that must show lost time (PROTOCOL R8)
)

// ClockCheck finds machines that lost time (PROTOCOL R8): it compares how far our clocks and the agent's have come between renewals of one
// stream. A renewal that travels long, or waits long in a starved process, looks the same: so all of several renewals, over V at least, must
// show it.
type ClockCheck struct {
	started bool
	best    shard.Instant // smallest (our clock − theirs) seen, per clock
	at      shard.Instant // when it was seen, per clock
	jumps   int
	since   shard.Instant // when the first of them was seen
	counted shard.Instant
}

// LostTime takes a renewal, asked for at an instant of the agent's own clock, and reports whether its machine lost time.
func (c *ClockCheck) LostTime(now shard.Instant, asked int64, s Settings) bool {
	offset := shard.Instant{Boot: now.Boot - asked, Raw: now.Raw - asked}
	if !c.started {
		*c = ClockCheck{started: true, best: offset, at: now}
	}
	if offset.Boot <= c.best.Boot {
		c.best.Boot, c.at.Boot = offset.Boot, now.Boot
	}
	if offset.Raw <= c.best.Raw {
		c.best.Raw, c.at.Raw = offset.Raw, now.Raw
	}
	jumped := exceeds(offset.Boot-c.best.Boot, now.Boot-c.at.Boot) && exceeds(offset.Raw-c.best.Raw, now.Raw-c.at.Raw)
	switch {
	case !jumped:
		c.jumps = 0
		if c.at.WaitAge(now) > jumpWindow {
			c.best, c.at = offset, now
		}
	case c.jumps == 0:
		c.jumps, c.since, c.counted = 1, now, now
	case c.counted.WaitAge(now) >= s.Interval/2:
		c.jumps++
		c.counted = now
	}
	return c.jumps >= jumpsMost && c.since.WaitAge(now) >= s.Validity
}

// exceeds reports whether more was lost than two clocks that both drift can lose, as far as waits cover that, and than a slow answer can
// pretend.
func exceeds(lost, elapsed int64) bool {
	return lost > int64(shard.CoverDrift(time.Duration(elapsed))+jumpTolerance)-elapsed
}
