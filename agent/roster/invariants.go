package roster

import (
	"maps"

	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// checkMost is how many shards are looked at after every step; those of a larger server after each checkEach-th call.
const checkMost, checkEach = 64, 64

// past is what a roster was before a step, for what must not go back.
type past struct {
	incarnation shard.Incarnation
	highest     shard.Epoch
	now, end    shard.Instant
	orders      map[shard.ID]shard.Order // nil: not looked at in this step
	calls       int                      // in the effects already
}

func (r *Roster) before(now shard.Instant, calls int) past {
	p := past{incarnation: r.saved.Incarnation, highest: r.highest, now: now, end: r.lease.end, calls: calls}
	if len(r.shards) <= checkMost || r.last%checkEach == 0 {
		p.orders = make(map[shard.ID]shard.Order, len(r.shards))
		for id, e := range r.shards {
			p.orders[id] = e.held.Max
		}
	}
	return p
}

// check holds a roster to the invariants of the package's doc, after a step.
func (r *Roster) check(was past, out *Effects) {
	invariant.Check(r.lease.end.IsZero() || r.life == Live, "a lease until %v while %s", r.lease.end, r.life)
	invariant.Check(r.highest.Compare(was.highest) >= 0, "the highest epoch fell from %s to %s", was.highest, r.highest)
	invariant.Check(r.life == Live || len(r.shards)+len(r.calls)+len(r.lanes) == 0, "%d shards and %d calls while %s", len(r.shards), len(r.calls)+len(r.lanes), r.life)
	invariant.Check(len(r.calls) <= MaxRunning && len(r.lanes) <= MaxMemberships, "%d calls and %d memberships", len(r.calls), len(r.lanes))
	if same := r.life == Live && r.saved.Incarnation == was.incarnation; same {
		// By one of the two clocks it may come sooner, if by the one that ends it, it comes later.
		invariant.Check(was.end.IsZero() || r.lease.end.Remaining(was.now) >= was.end.Remaining(was.now), "the lease's end moved from %v to %v (R6)", was.end, r.lease.end)
		for id, old := range was.orders {
			invariant.Check(r.shards[id] != nil && r.shards[id].held.Max.Compare(old) >= 0, "shard %s: the highest order fell below %s (R3)", id, old)
		}
	}
	if was.orders == nil {
		return
	}
	running, lanes := map[CallID]*entry{}, map[CallID]*entry{}
	for _, e := range r.shards {
		if e.running != nil {
			running[e.running.call] = e
		}
		if t := e.lane.running; t != nil {
			lanes[t.call] = e
			invariant.Check(t.cmd.ID.Order == e.lane.newest, "shard %s: the membership under way is not the newest", e.held.Shard)
		}
	}
	invariant.Check(maps.Equal(running, r.calls) && maps.Equal(lanes, r.lanes), "%d calls and %d memberships are under way, %d and %d are known", len(running), len(lanes), len(r.calls), len(r.lanes))
	for _, c := range out.Calls[was.calls:] {
		if e := r.shards[c.Shard]; e != nil && c.Kind != CallUpdateMembership {
			invariant.Check(c.Order.Compare(e.held.Max) <= 0, "shard %s: a call at order %s above the highest, %s", c.Shard, c.Order, e.held.Max)
		}
	}
}
