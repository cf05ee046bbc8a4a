package promise

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// explained is promise 10: whoever gets a shard or loses it, the leader that decides it says why, and names the decision.
type explained struct {
	said map[shard.ID]map[shard.Order]bool // decisions that were given with a reason
}

func newExplained() *explained { return &explained{said: map[shard.ID]map[shard.Order]bool{}} }

func (c *explained) see(_ time.Duration, o Observation) string {
	switch o := o.(type) {
	case Decided:
		d := o.Decision
		if d.Shard == "" || d.Why == "" {
			return ""
		}
		if c.said[d.Shard] == nil {
			c.said[d.Shard] = map[shard.Order]bool{}
		}
		c.said[d.Shard][d.Order] = true
	case RowWritten:
		before, after := &o.Before, &o.After
		said := c.said[o.Shard][shard.Order{Term: after.Term, Move: after.Move}]
		delete(c.said, o.Shard)
		switch {
		case said:
		case after.Open != nil && (before.Open == nil || before.Open.Move != after.Open.Move):
			return fmt.Sprintf("shard %s: a move from %s to %s was opened, and nobody said why", o.Shard, after.Open.From.Server, after.Open.To.Server)
		case after.Primary.Incarnation != 0 && after.Primary != before.Primary && before.Open == nil:
			return fmt.Sprintf("shard %s: %s became primary at term %d, and nobody said why", o.Shard, after.Primary.Server, after.PrimaryTerm)
		}
	}
	return ""
}
