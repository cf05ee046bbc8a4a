package timing

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// When to ask placement again.
const (
	planShare   = 2               // from one plan to the next, at least, as a multiple of what it took
	SolvePause  = 5 * time.Second // between two rebalancings
	SolveSettle = time.Second     // after a change of membership
)

// Planning is when to ask placement for an app again.
type Planning struct {
	Asked    bool          // a plan is being made
	Last     shard.Instant // when one was asked for
	Took     time.Duration // until the last one was made
	At       shard.Instant // when to rebalance next; zero: nothing to do
	Settled  shard.Instant // when membership will have settled, likewise
	Since    shard.Instant // first change that Settled waits for
	Joined   shard.Instant // last server that joined
	Retry    shard.Instant // the unplaced could not be placed: not before
	Failures int
	Notes    string // what the last plan said to people
	Capped   bool   // the last plan was cut by the caps on moves
	Moves    int    // cap on open moves that the last plan heeded; 0: not said
	AtServer int    // likewise, from or to one server
	Missing  int    // shards that had fewer replicas than wanted when it was asked for
}

// Begin notes that a plan is asked for now; nothing is due any more.
func (p *Planning) Begin() {
	p.At, p.Settled, p.Since = shard.Instant{}, shard.Instant{}, shard.Instant{}
}

// Made notes that the plan which was asked for has come.
func (p *Planning) Made(now shard.Instant) {
	p.Asked, p.Capped, p.Took = false, false, p.Last.WaitAge(now)
}

// Due reports whether to ask now.
func (p *Planning) Due(now shard.Instant) bool {
	return !p.At.IsZero() && p.At.Passed(now) || !p.Settled.IsZero() && p.Settled.Passed(now)
}

// Want asks for a rebalancing, not before the last one is `pause` old, or a few times as old as it took: a large app leaves time for other work.
func (p *Planning) Want(now shard.Instant, pause time.Duration) {
	at := shard.LaterOf(now, p.Last.Add(max(pause, planShare*p.Took)))
	if p.At.IsZero() || !p.At.Passed(at) {
		p.At = at
	}
}

// Measured notes that loads have changed. While membership settles, nothing is evened out by them: those of a server that is about to
// return may be as of long ago, and the plan that is made then knows these.
func (p *Planning) Measured(now shard.Instant) {
	if p.Settled.IsZero() {
		p.Want(now, SolvePause)
	}
}

// Settle asks for a rebalancing once membership has not changed for a moment.
func (p *Planning) Settle(now shard.Instant) {
	if p.Since.IsZero() {
		p.Since = now
	}
	p.Retry, p.Failures = shard.Instant{}, 0
	if p.Since.WaitAge(now) < SolvePause {
		p.Settled = now.Add(SolveSettle)
	}
}
