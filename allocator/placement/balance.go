package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/field"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Bounds of the effort of one balance, in servers and nodes of the tree looked at; what is left is done by the next solve.
const (
	maxBalanceVisits = 20_000_000
	maxUrgentVisits  = 2_000_000 // where the plan fills up what is missing, and is waited for
)

// cell is one server in one metric.
type cell struct{ server, metric int }

// balancer lowers, again and again, the fullest cell that a single move can lower. Every move makes the sorted list of all cells smaller
// (the fullest falls, and none rises to where it was), so it ends, and two solves field.Never undo each other. A move keeps each replica as far
// from the others, and each primary in a region as preferred, as it was.
type balancer struct {
	*state
	on        [][]ref // by server: replicas that may be elsewhere, those that the plan adds and those that it brings there included
	spent     map[cell]bool
	scanned   int // servers looked at
	tolerance int64
	lowest    []load.Vector // by rank of the region, and one more that stands for all: the emptiest server per metric
}

func (s *state) balance() {
	if len(s.where.Ranks) > 0 {
		s.shareOut(true)
		for server := range s.in.Servers {
			s.refresh(server)
		}
	}
	b := &balancer{state: s, on: make([][]ref, len(s.in.Servers)), spent: map[cell]bool{}}
	b.lowest = load.Vectors(len(s.where.Ranks)+1, s.metrics.Len())
	b.tolerance = load.MulDiv(fair, int64(s.in.Policy.TolerancePercent), 100)
	// One more replica is kept from places that it would fit best by the others of its shard, so additions are balanced afterwards.
	adds := s.in.Policy.Replicas > 1
	for i := range s.in.Shards {
		restless := s.restless(i)
		for k := range s.replicas[i] {
			if r := &s.replicas[i][k]; (adds && r.added()) || (!restless && r.movable() && s.in.Servers[r.on].Accepts) {
				b.on[r.at] = append(b.on[r.at], ref{i, k})
			}
		}
	}
	most := maxBalanceVisits
	if s.filled {
		most = maxUrgentVisits
	}
	progress, before := false, s.tree.Visits
	for !s.full() && b.scanned+b.tree.Visits-before < most {
		c, ok := b.fullest()
		if !ok {
			if !progress {
				return
			}
			// What moved may have made room for what was stuck before.
			progress = false
			clear(b.spent)
			continue
		}
		if b.lower(c) {
			progress = true
		} else {
			b.spent[c] = true
		}
	}
}

// group is the servers among which a metric is balanced: those with one rank where it follows the primaries, else all.
func (b *balancer) group(server, metric int) int {
	if b.follows(metric) {
		return b.where.Rank(server)
	}
	return len(b.where.Ranks)
}

// fullest is the fullest cell that was not given up and is above the emptiest of its metric by more than the tolerance.
func (b *balancer) fullest() (best cell, ok bool) {
	b.scanned += 2 * len(b.in.Servers)
	for _, lowest := range b.lowest {
		for m := range lowest {
			lowest[m] = field.Never
		}
	}
	for server := range b.in.Servers {
		for m, share := range b.share[server] {
			if lowest := b.lowest[b.group(server, m)]; share > 0 {
				lowest[m] = min(lowest[m], b.relative(server, m))
			}
		}
	}
	most := int64(-1)
	for server := range b.in.Servers {
		if len(b.on[server]) == 0 || b.capped(server) {
			continue
		}
		for m, share := range b.share[server] {
			if share == 0 {
				continue
			}
			c, relative := cell{server, m}, b.relative(server, m)
			if relative > most && relative-b.lowest[b.group(server, m)][m] > b.tolerance && !b.spent[c] {
				best, most, ok = c, relative, true
			}
		}
	}
	return best, ok
}

// lower takes something from a cell; false if no single move makes the higher of the two servers lower.
func (b *balancer) lower(c cell) bool {
	if c.metric == b.primaries && b.in.Policy.Replicas > 1 {
		return b.lowerPrimaries(c)
	}
	var failed load.Vector // no server takes a load like this; equal ones need not be tried
	for _, r := range b.candidates(c) {
		need := b.weight(r)
		alike := b.in.Policy.Replicas == 1 && len(b.in.Shards[r.i].Avoid) == 0 // the constraints are the same for all such shards
		if alike && slices.Equal(failed, need) {
			continue
		}
		if to := b.lowerBy(c, r); to >= 0 {
			b.shift(c, r, to)
			return true
		}
		if alike {
			failed = need
		}
	}
	return false
}

// lowerBy is the best server for a replica that leaves a cell; −1: none.
func (b *balancer) lowerBy(c cell, r ref) int {
	rep := &b.replicas[r.i][r.k]
	q := b.quest(r.i, r.k, rep.role)
	q.by, q.bound, q.width = c.metric, b.relative(c.server, c.metric)-b.tolerance-1, max(b.spread, b.alone(r.i, r.k))
	ranked := rep.role == shard.Primary && len(b.where.Ranks) > 0
	q.allowed = func(to int) bool {
		return (rep.added() || !b.capped(to)) && b.improves(c, r, to) && b.group(to, c.metric) == b.group(c.server, c.metric) &&
			(!ranked || b.where.Rank(to) <= b.where.Rank(c.server)) && (b.where.InRegion[to] == b.where.InRegion[c.server] || b.spare(r.i, r.k))
	}
	if ranked && b.follows(c.metric) {
		q.regions = b.where.Ranks[b.where.Rank(c.server)]
	}
	return b.find(q)
}

// weight is the load of a replica.
func (b *balancer) weight(r ref) load.Vector { return b.load(r.i, b.replicas[r.i][r.k].role) }

// candidates lists the replicas that weigh on a cell, best first: the largest that does not overshoot the middle between it and the
// emptiest server, then smaller ones, then the smallest that overshoots, and larger ones. Of equal ones, primaries come first where there
// are more of them here than there, else secondaries.
func (b *balancer) candidates(c cell) []ref {
	m := c.metric
	list := make([]ref, 0, len(b.on[c.server]))
	for _, r := range b.on[c.server] {
		if b.weight(r)[m] > 0 {
			list = append(list, r)
		}
	}
	to := b.emptiest(c)
	middle, first := b.middle(c, to), shard.Secondary
	if to >= 0 && b.primaries >= 0 && b.relative(c.server, b.primaries)-b.tolerance > b.relative(to, b.primaries) {
		first = shard.Primary
	}
	role := func(r ref) int {
		if b.replicas[r.i][r.k].role == first {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(x, y ref) int {
		lx, ly := b.weight(x)[m], b.weight(y)[m]
		if over := lx > middle; over != (ly > middle) {
			if over {
				return 1
			}
			return -1
		} else if over {
			return cmp.Or(cmp.Compare(lx, ly), cmp.Compare(role(x), role(y)))
		}
		return cmp.Or(cmp.Compare(ly, lx), cmp.Compare(role(x), role(y)))
	})
	return list
}

// emptiest is the server that a cell would best give to, if all that matters were its metric; −1: none.
func (b *balancer) emptiest(c cell) int {
	leaf := b.tree.Find(&field.Search{By: c.metric, Bound: field.Never, Need: make(load.Vector, b.metrics.Len()), Allowed: func(leaf int) bool {
		to := b.where.Order[leaf]
		return to != c.server && !b.capped(to) && b.group(to, c.metric) == b.group(c.server, c.metric)
	}})
	if leaf < 0 {
		return -1
	}
	return b.where.Order[leaf]
}

// middle is the load whose move would make a cell and the emptiest server of its metric equally full.
func (b *balancer) middle(c cell, to int) int64 {
	if to < 0 {
		return 0
	}
	m := c.metric
	from, gap := b.share[c.server][m], b.relative(c.server, m)-b.relative(to, m)
	both := load.MulDiv(from, b.share[to][m], max(1, from+b.share[to][m])) // 1/(1/a + 1/b)
	return load.MulDiv(max(0, gap), both, fair)
}

// improves reports whether every cell that rises stays below what the lowered cell was.
func (b *balancer) improves(c cell, r ref, to int) bool {
	high := b.relative(c.server, c.metric)
	for m, l := range b.weight(r) {
		if share := b.share[to][m]; l > 0 && share > 0 && load.MulDiv(b.settled[to][m]+l, fair, share) >= high {
			return false
		}
	}
	return true
}

func (b *balancer) shift(c cell, r ref, to int) {
	from, m := c.server, c.metric
	high, low := b.relative(from, m), b.relative(to, m)
	if b.replicas[r.i][r.k].move >= 0 {
		b.retarget(r.i, r.k, to)
	} else {
		b.migrate(r.i, r.k, to, Balance, "")
		b.stay(r.i) // one move of a shard at a time: its other replicas stay
	}
	b.on[from] = slices.DeleteFunc(b.on[from], func(other ref) bool { return other == r })
	b.on[to] = append(b.on[to], r)
	switch rep := &b.replicas[r.i][r.k]; {
	case rep.added():
		b.plan.Decisions[rep.decision].Why = fmt.Sprintf("%s keeps the balance of %s: %d %% of its fair share before", b.serverID(to),
			b.metrics.Name(m), percent(low))
	case rep.decision >= 0:
		b.plan.Decisions[rep.decision].Why = b.whyBalance(c, to, high, low)
	}
}

func (b *balancer) whyBalance(c cell, to int, high, low int64) string {
	m := c.metric
	return fmt.Sprintf("%s: %s from %d %% to %d %% of its fair share, %s from %d %% to %d %%", b.metrics.Name(m),
		b.serverID(c.server), percent(high), percent(b.relative(c.server, m)), b.serverID(to), percent(low), percent(b.relative(to, m)))
}

// lowerPrimaries lets a secondary elsewhere take over a primary: no state moves for the sake of the number of primaries.
func (b *balancer) lowerPrimaries(c cell) bool {
	high, m := b.relative(c.server, c.metric), c.metric
	best, to, least := ref{i: -1}, -1, high-b.tolerance
	for _, r := range b.on[c.server] {
		if b.replicas[r.i][r.k].role != shard.Primary || b.moved[r.i] {
			continue // in the plan already
		}
		for k := range b.replicas[r.i] {
			o := &b.replicas[r.i][k]
			if k == r.k || !o.movable() || b.capped(o.on) || !b.in.Servers[o.on].Accepts || b.avoids(r.i, o.on) || !b.primaryFits(o.on) ||
				b.group(o.on, m) != b.group(c.server, m) {
				continue
			}
			share, now := b.share[o.on][m], b.relative(o.on, m)
			if share > 0 && now < least && load.MulDiv(b.settled[o.on][m]+1, fair, share) < high {
				best, to, least = r, k, now
			}
		}
	}
	b.scanned += len(b.on[c.server])
	if best.i < 0 {
		return false
	}
	server := b.replicas[best.i][to].on
	low := b.relative(server, m)
	b.promote(best.i, best.k, to, Balance, "")
	b.plan.Decisions[len(b.plan.Decisions)-1].Why = b.whyBalance(c, server, high, low)
	b.stay(best.i)
	return true
}

// stay takes the replicas of a shard from those that may move.
func (b *balancer) stay(i int) {
	for _, r := range b.replicas[i] {
		if r.on >= 0 {
			b.on[r.on] = slices.DeleteFunc(b.on[r.on], func(other ref) bool { return other.i == i })
		}
	}
}

func percent(relative int64) int64 { return (relative + fair/200) / (fair / 100) }
