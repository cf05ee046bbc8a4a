package promise

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// nothingLost is promise 3: every shard has an owner or is on its way to one, and where the application's storage keeps what was acknowledged,
// the next owner has it.
type nothingLost struct {
	acknowledged map[shard.ID]int64
	since        map[shard.ID]shard.Term // what was acknowledged at earlier terms was allowed to be lost
	inSync       map[shard.ID]shard.Term // granted to a secondary that had everything
	raised       map[shard.ID]shard.Term // highest
}

func newNothingLost() *nothingLost {
	return &nothingLost{acknowledged: map[shard.ID]int64{}, since: map[shard.ID]shard.Term{}, inSync: map[shard.ID]shard.Term{}, raised: map[shard.ID]shard.Term{}}
}

func (c *nothingLost) see(_ time.Duration, o Observation) string {
	switch o := o.(type) {
	case Acknowledged:
		if o.Term >= c.since[o.Shard] {
			c.acknowledged[o.Shard] = max(c.acknowledged[o.Shard], o.Write)
		}
	case RowWritten:
		if s := o.Before.SecondaryOf(o.After.Primary); o.After.Primary != o.Before.Primary && s != nil && s.State == ledger.InSync {
			c.inSync[o.Shard] = o.After.PrimaryTerm
		}
		return passedOver(o)
	case Raised:
		if o.Term < c.raised[o.Shard] {
			return "" // somebody who stood still goes on with what others have long taken over; he has no lease
		}
		c.raised[o.Shard] = o.Term
		o.Kept = o.Kept || c.inSync[o.Shard] == o.Term
		n := c.acknowledged[o.Shard]
		switch {
		case o.Kept && o.Has < n:
			return fmt.Sprintf("shard %s: %s becomes primary at term %d with %d writes, of %d acknowledged", o.Shard, o.Owner.Server, o.Term, o.Has, n)
		case !o.Kept:
			c.acknowledged[o.Shard], c.since[o.Shard] = min(n, o.Has), o.Term // what it has beyond was never acknowledged
		}
	case Left:
		if o.Unowned != "" {
			return fmt.Sprintf("shard %s: %s", o.Shard, o.Unowned)
		}
	}
	return ""
}

// passedOver says who had everything that was acknowledged and is still there, when somebody else became primary who may not have it.
func passedOver(o RowWritten) string {
	heir := o.After.Primary
	if heir.Incarnation == 0 || heir == o.Before.Primary || o.Before.Open != nil && o.Before.Open.To == heir {
		return ""
	}
	if s := o.Before.SecondaryOf(heir); s != nil && s.State == ledger.InSync {
		return ""
	}
	for i := range o.Before.Secondaries {
		if s := &o.Before.Secondaries[i]; s.State == ledger.InSync && o.After.SecondaryOf(s.Owner) != nil {
			return fmt.Sprintf("shard %s: %s becomes primary at term %d although %s is in sync", o.Shard, heir.Server, o.After.PrimaryTerm, s.Owner.Server)
		}
	}
	return ""
}

// noneDropped is promise 4: no request is dropped by a planned change.
type noneDropped struct{}

func (noneDropped) see(_ time.Duration, o Observation) string {
	if f, ok := o.(Failed); ok && f.Planned {
		return fmt.Sprintf("shard %s: a request failed although nothing but planned events happened: %s", f.Shard, f.Why)
	}
	return ""
}
