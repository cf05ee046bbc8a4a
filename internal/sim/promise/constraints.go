package promise

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/policies"
)

// constraints is promise 5: capacity, spread and the caps on moves hold during moves, with both copies counted; what is broken already never
// gets worse.
type constraints struct {
	spec     ledger.Spec
	capacity map[shard.ServerID]Capacity
	used     map[ledger.Owner]int // replicas, both ends of moves; what an earlier incarnation had is gone
	moves    map[ledger.Owner]int
	open     int
	before   ledger.Spec // that this one replaced, by which a leader may still decide until then
	until    time.Duration
	decided  map[shard.ID]limits
	looks    []func(at time.Duration) string // when the transaction under way is over
}

func newConstraints() *constraints {
	return &constraints{
		capacity: map[shard.ServerID]Capacity{}, used: map[ledger.Owner]int{}, moves: map[ledger.Owner]int{}, decided: map[shard.ID]limits{},
	}
}

// limits are what held when something was decided: that they become narrower while its row is being written takes no decision back.
type limits struct {
	order           shard.Order
	most, perServer int
	policies        []*policies.Policy // any of them may have been decided by
}

func (c *constraints) see(at time.Duration, o Observation) string {
	switch o := o.(type) {
	case SpecWritten:
		if c.spec.MaxMoves > 0 { // it is not the first one
			c.before, c.until = c.spec, learns
		}
		c.spec = o.Spec
	case Capacity:
		c.capacity[o.Server] = o
	case Decided:
		if o.Decision.What == "app updated" || o.Decision.What == "leading" {
			c.until = min(c.until, at+settles)
		}
		c.decided[o.Decision.Shard] = c.limits(at, o.Decision.Order)
	case RowWritten:
		c.written(o)
	case Committed:
		looks := c.looks
		c.looks = nil
		for _, look := range looks {
			if what := look(at); what != "" {
				return what
			}
		}
	}
	return ""
}

// holders are those at whom a row puts a copy of a shard, each once.
func holders(r *ledger.Row) (list []ledger.Owner) {
	for _, owner := range r.Owners() {
		if owner.Incarnation != 0 && !slices.Contains(list, owner) {
			list = append(list, owner)
		}
	}
	return list
}

func opened(r *ledger.Row) *ledger.OpenMove {
	if r.Open != nil && r.Open.Phase == ledger.Opened {
		return r.Open
	}
	return nil
}

// written counts what a row says, and has what it takes looked at once its transaction is over: what others free by then is free.
func (c *constraints) written(o RowWritten) {
	before, after := holders(&o.Before), holders(&o.After)
	order := shard.Order{Term: o.After.Term, Move: o.After.Move}
	for _, owner := range before {
		if !slices.Contains(after, owner) {
			c.used[owner]--
		}
	}
	c.countMoves(&o.Before, -1)
	c.countMoves(&o.After, 1)
	for _, owner := range after {
		if slices.Contains(before, owner) {
			continue
		}
		c.used[owner]++
		c.look(func(at time.Duration) string {
			if what := c.forbidden(o.Shard, owner.Server, c.held(at, o.Shard, order)); what != "" {
				return what
			}
			if limit, ok := c.capacity[owner.Server]; ok && c.used[owner] > limit.Most {
				return fmt.Sprintf("shard %s: server %s is given a %dth replica, and has room for %d", o.Shard, owner.Server, c.used[owner], limit.Most)
			}
			return ""
		})
	}
	if was, is := c.crowded(&o.Before), c.crowded(&o.After); is > was && len(after) > len(before) {
		c.look(func(time.Duration) string {
			return fmt.Sprintf("shard %s: %d pairs of its replicas share a %s, %d did before", o.Shard, is, c.spec.Spread, was)
		})
	}
	if move := opened(&o.After); move != nil && opened(&o.Before) == nil && !heir(&o.Before, move.To) {
		c.look(func(at time.Duration) string { return c.tooMany(o.Shard, move, c.held(at, o.Shard, order)) })
	}
}

func (c *constraints) look(at func(time.Duration) string) { c.looks = append(c.looks, at) }

// heir reports whether a secondary was brought to take over from the primary: that was a move already, and goes on whatever the caps say.
func heir(r *ledger.Row, o ledger.Owner) bool {
	s := r.SecondaryOf(o)
	return s != nil && s.Replaces.Incarnation != 0 && s.Replaces == r.Primary
}

// countMoves counts what is under way by a row: its open move, and newcomers that come for somebody until they have taken over.
func (c *constraints) countMoves(r *ledger.Row, n int) {
	count := func(ends ...ledger.Owner) {
		c.open += n
		for _, o := range ends {
			c.moves[o] += n
		}
	}
	if m := r.Open; m != nil {
		count(m.From, m.To)
	}
	for _, s := range r.Secondaries {
		if s.Replaces.Incarnation != 0 && (s.State != ledger.InSync || r.Open == nil && heir(r, s.Owner)) {
			count(s.Owner, s.Replaces)
		}
	}
}

// Until when a leader may still decide by the spec before.
const (
	learns  = math.MaxInt64   // until it learns that the new one was written, which takes long where the answer is lost (PROTOCOL R12)
	settles = 2 * time.Second // and then, by a plan that was under way
)

func (c *constraints) limits(at time.Duration, order shard.Order) limits {
	l := limits{order: order}.or(&c.spec)
	if at < c.until {
		l = l.or(&c.before)
	}
	return l
}

// or are limits that hold by a spec, or by what they were.
func (l limits) or(spec *ledger.Spec) limits {
	caps, own := spec.Policy(), policies.Of(spec.Written)
	within := func(most, own int) int {
		if own > 0 {
			return min(most, own)
		}
		return most
	}
	l.most = max(l.most, within(caps.Moves, own.Moves))
	l.perServer = max(l.perServer, within(caps.MovesPerServer, own.OfServer))
	l.policies = append(slices.Clip(l.policies), own)
	return l
}

// held are the limits by which a row may have been decided.
func (c *constraints) held(at time.Duration, id shard.ID, order shard.Order) limits {
	l := c.limits(at, order)
	if d := c.decided[id]; d.order == order {
		l.most, l.perServer, l.policies = max(l.most, d.most), max(l.perServer, d.perServer), slices.Concat(l.policies, d.policies)
	}
	return l
}

// tooMany says which cap on moves one more exceeds.
func (c *constraints) tooMany(id shard.ID, m *ledger.OpenMove, l limits) string {
	switch {
	case c.open > l.most:
		return fmt.Sprintf("shard %s: a %dth move is opened, and the cap is %d", id, c.open, l.most)
	case c.moves[m.From] > l.perServer:
		return fmt.Sprintf("shard %s: a %dth move from or to %s is opened, and the cap is %d", id, c.moves[m.From], m.From.Server, l.perServer)
	case c.moves[m.To] > l.perServer:
		return fmt.Sprintf("shard %s: a %dth move from or to %s is opened, and the cap is %d", id, c.moves[m.To], m.To.Server, l.perServer)
	}
	return ""
}

// forbidden says which policy does not allow a server that is given a replica.
func (c *constraints) forbidden(id shard.ID, server shard.ServerID, l limits) string {
	where := c.capacity[server].Where
	if slices.ContainsFunc(l.policies, func(p *policies.Policy) bool { return p.Allows(where) }) {
		return ""
	}
	return fmt.Sprintf("shard %s: server %s in %s is given a replica, and policy %q does not allow that", id, server, where.Region, l.policies[0].Name)
}

// crowded counts the pairs of replicas that are to stay and share a fault domain that they must not share.
func (c *constraints) crowded(r *ledger.Row) (pairs int) {
	if !c.spec.Replication.Secondaries() || c.spec.Spread <= locality.Host {
		return 0
	}
	kept := r.Kept(nil)
	for i, a := range kept {
		for _, b := range kept[:i] {
			if locality.Shared(c.capacity[a.Server].Where, c.capacity[b.Server].Where, c.spec.Spread) {
				pairs++
			}
		}
	}
	return pairs
}
