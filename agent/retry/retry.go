// Package retry says when something that failed is tried again: ever later, and not by all at the same moment. It is pure, and spreads by a hash
// instead of a random number. It is called by agent/roster and knows nothing of what is tried.
package retry

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Pauses between two tries: they double.
const (
	first = 200 * time.Millisecond
	last  = 3 * time.Second
)

// Pace is that of one thing. The zero Pace has not failed.
type Pace struct {
	At       shard.Instant // not before; zero: at once
	failures int
}

// Failed puts the next try off.
func (p *Pace) Failed(now shard.Instant, seed shard.Incarnation) {
	pause := min(first<<min(p.failures, 8), last)
	p.failures++
	p.At = now.Add(Spread(pause, uint64(seed)+uint64(p.failures)))
}

// Spread is a pause that differs by up to a fifth either way, by a hash (splitmix64) of the seed.
func Spread(d time.Duration, seed uint64) time.Duration {
	z := seed + 0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return d*4/5 + time.Duration(z%uint64(max(1, d*2/5)))
}
