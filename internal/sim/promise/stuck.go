package promise

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/policies"
)

// nothingSticks is promise 8: what is begun ends. A move is stuck that is as it was when faults had been over for longer than any step of
// it may take; a drain, by which for so long nothing has left, although the server still has something, there is room elsewhere, and nothing fails.
type nothingSticks struct {
	open   map[shard.ID]openSince
	drains map[shard.ServerID]time.Duration // when a row last said something else of a server that is drained
	others time.Duration                    // when more than one was drained last, or servers were few that may have a replica
	holds  map[shard.ServerID]int           // rows that name a server
	fenced bool
}

type openSince struct {
	move  ledger.OpenMove
	since time.Duration
}

const (
	// stuckAfter is longer than all steps of a move take together, where nothing fails.
	stuckAfter = 45 * time.Second
	// drainStuckAfter is longer than one move takes, and the pause before the next.
	drainStuckAfter = 20 * time.Second
)

func newNothingSticks() *nothingSticks {
	return &nothingSticks{open: map[shard.ID]openSince{}, drains: map[shard.ServerID]time.Duration{}, holds: map[shard.ServerID]int{}}
}

func (c *nothingSticks) see(at time.Duration, o Observation) string {
	switch o := o.(type) {
	case SpecWritten:
		c.fenced = policies.Of(o.Spec.Written).Outside != ""
		c.crowd(at)
	case RowWritten:
		c.written(at, o)
	case Drain:
		return c.drained(at, o)
	case Left:
		s, open := c.open[o.Shard]
		if stood := min(at-s.since, o.Calm); open && stood > stuckAfter {
			return fmt.Sprintf("shard %s: its move from %s to %s is open for %.1f s, without faults", o.Shard, s.move.From.Server, s.move.To.Server, stood.Seconds())
		}
	}
	return ""
}

func (c *nothingSticks) written(at time.Duration, o RowWritten) {
	switch m := o.After.Open; {
	case m == nil:
		delete(c.open, o.Shard)
	case c.open[o.Shard].move.Move != m.Move:
		c.open[o.Shard] = openSince{*m, at}
	}
	note := func(r *ledger.Row, n int) {
		for _, owner := range holders(r) {
			c.holds[owner.Server] += n
			if _, drained := c.drains[owner.Server]; drained {
				c.drains[owner.Server] = at
			}
		}
	}
	note(&o.Before, -1)
	note(&o.After, 1)
}

// crowd notes that there may be no room.
func (c *nothingSticks) crowd(at time.Duration) {
	if c.fenced || len(c.drains) > 1 {
		c.others = at
	}
}

func (c *nothingSticks) drained(at time.Duration, d Drain) string {
	if d.On {
		c.drains[d.Server] = at
		c.crowd(at)
		return ""
	}
	c.crowd(at)
	since, drained := c.drains[d.Server]
	since = max(since, c.others)
	delete(c.drains, d.Server)
	if !drained {
		return "" // another operator's was taken back, and this one with it
	}
	if left := c.holds[d.Server]; d.Planned && left > 0 && at-since > drainStuckAfter {
		return fmt.Sprintf("server %s: it is drained, %d shards name it, and nothing has left it for %.1f s", d.Server, left, (at - since).Seconds())
	}
	return ""
}
