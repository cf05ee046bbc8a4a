package promise

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// onePrimary is promise 1: no two processes may execute operations of one shard at the same instant. A right ends with the lease at the latest, so
// rights overlap exactly if they do where one begins: when a process begins, and when a lease begins anew. That a lease is longer than anybody vouched
// for (PROTOCOL R6), or lasts beyond the wait for its end (R8), is found at once, not only where another got the shard in that moment.
type onePrimary struct {
	until   map[ledger.Owner]time.Duration
	vouched map[ledger.Owner]time.Duration
	rights  map[shard.ID]map[ledger.Owner]shard.Term
	shards  map[ledger.Owner]map[shard.ID]bool
}

func newOnePrimary() *onePrimary {
	return &onePrimary{
		until: map[ledger.Owner]time.Duration{}, vouched: map[ledger.Owner]time.Duration{}, rights: map[shard.ID]map[ledger.Owner]shard.Term{},
		shards: map[ledger.Owner]map[shard.ID]bool{},
	}
}

func (c *onePrimary) see(at time.Duration, o Observation) string {
	switch o := o.(type) {
	case Vouched:
		c.vouched[o.Owner] = max(c.vouched[o.Owner], o.Until)
	case Over:
		if left := c.vouched[o.Owner] - at; left > 0 && c.until[o.Owner] > 0 && len(c.shards[o.Owner]) > 0 {
			return fmt.Sprintf("%s %s is taken for over (%s), and clocks that err as far as they may let it execute %d shards for %.3f s more", o.Owner.Server, o.Owner.Incarnation, o.Why,
				len(c.shards[o.Owner]), left.Seconds())
		}
	case Leased:
		if most := c.vouched[o.Owner]; o.Longer && o.Until > most {
			return fmt.Sprintf("the lease of %s %s ends %.3f s later than anybody vouched for", o.Owner.Server, o.Owner.Incarnation, (o.Until - most).Seconds())
		}
		fresh := c.until[o.Owner] <= at && o.Until > at
		if c.until[o.Owner] = o.Until; fresh {
			for _, id := range shard.SortedKeys(c.shards[o.Owner]) {
				if what := c.overlap(at, id, o.Owner); what != "" {
					return what
				}
			}
		}
	case Began:
		if c.rights[o.Shard] == nil {
			c.rights[o.Shard] = map[ledger.Owner]shard.Term{}
		}
		if c.shards[o.Owner] == nil {
			c.shards[o.Owner] = map[shard.ID]bool{}
		}
		c.rights[o.Shard][o.Owner], c.shards[o.Owner][o.Shard] = o.Term, true
		if c.until[o.Owner] > at {
			return c.overlap(at, o.Shard, o.Owner)
		}
	case Ceased:
		delete(c.rights[o.Shard], o.Owner)
		delete(c.shards[o.Owner], o.Shard)
	}
	return ""
}

func (c *onePrimary) overlap(at time.Duration, id shard.ID, owner ledger.Owner) string {
	for other, term := range c.rights[id] {
		if other != owner && c.until[other] > at {
			return fmt.Sprintf("shard %s: %s %s may execute at term %d while %s %s may at term %d, for %.3f s more", id, owner.Server, owner.Incarnation,
				c.rights[id][owner], other.Server, other.Incarnation, term, (c.until[other] - at).Seconds())
		}
	}
	return ""
}
