package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/internal/load"
)

// maxBalanceVisits bounds the effort of one balance, in servers and nodes of the tree looked at; what is left is done by the next solve.
const maxBalanceVisits = 20_000_000

// cell is one server in one metric.
type cell struct{ server, metric int }

// balancer lowers, again and again, the fullest cell that a single move can lower. Every move makes the sorted list of all cells smaller
// (the fullest falls, and none rises to where it was), so it ends, and two solves never undo each other.
type balancer struct {
	*state
	on        [][]int // by server: shards that may move away, those that it brings there included
	spent     map[cell]bool
	scanned   int // servers looked at
	tolerance int64
}

func (s *state) balance() {
	b := &balancer{state: s, on: make([][]int, len(s.in.Servers)), spent: map[cell]bool{}}
	b.tolerance = load.MulDiv(fair, int64(s.in.Policy.TolerancePercent), 100)
	for i := range s.in.Shards {
		if on := s.on[i]; s.movable(i) && !s.in.Shards[i].Backoff && !s.moved[i] && s.in.Servers[on].Accepts {
			b.on[on] = append(b.on[on], i)
		}
	}
	progress, before := false, s.tree.visits
	for !s.full() && b.scanned+b.tree.visits-before < maxBalanceVisits {
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

// fullest is the fullest cell that was not given up and is above the emptiest of its metric by more than the tolerance.
func (b *balancer) fullest() (best cell, ok bool) {
	lowest, most := b.tree.keysOf(b.tree.root()), int64(-1)
	b.scanned += len(b.in.Servers)
	for server := range b.in.Servers {
		if len(b.on[server]) == 0 || b.capped(server) {
			continue
		}
		for m, share := range b.share[server] {
			if share == 0 {
				continue
			}
			c, relative := cell{server, m}, b.relative(server, m)
			if relative > most && relative-lowest[m] > b.tolerance && !b.spent[c] {
				best, most, ok = c, relative, true
			}
		}
	}
	return best, ok
}

// lower moves one shard away from a cell; false if no single move makes the higher of the two servers lower.
func (b *balancer) lower(c cell) bool {
	var failed load.Vector // no server takes a load like this; equal ones need not be tried
	for _, i := range b.candidates(c) {
		if failed != nil && len(b.in.Shards[i].Avoid) == 0 && slices.Equal(failed, b.loads[i]) {
			continue
		}
		q := &search{by: c.metric, bound: b.relative(c.server, c.metric) - b.tolerance - 1, need: b.loads[i], allowed: func(to int) bool {
			return to != c.server && !b.capped(to) && !b.avoids(i, to) && b.improves(c, i, to)
		}}
		to := b.tree.find(q)
		if to >= 0 {
			b.shift(c, i, to)
			return true
		}
		if len(b.in.Shards[i].Avoid) == 0 {
			failed = b.loads[i]
		}
	}
	return false
}

// candidates lists the shards that weigh on a cell, best first: the largest that does not overshoot the middle between it and the
// emptiest server, then smaller ones, then the smallest that overshoots, and larger ones.
func (b *balancer) candidates(c cell) []int {
	m := c.metric
	list := make([]int, 0, len(b.on[c.server]))
	for _, i := range b.on[c.server] {
		if b.loads[i][m] > 0 {
			list = append(list, i)
		}
	}
	middle := b.middle(c)
	slices.SortStableFunc(list, func(x, y int) int {
		lx, ly := b.loads[x][m], b.loads[y][m]
		if over := lx > middle; over != (ly > middle) {
			if over {
				return 1
			}
			return -1
		} else if over {
			return cmp.Compare(lx, ly)
		}
		return cmp.Compare(ly, lx)
	})
	return list
}

// middle is the load whose move would make a cell and the emptiest server of its metric equally full.
func (b *balancer) middle(c cell) int64 {
	m := c.metric
	to := b.tree.find(&search{by: m, bound: never, need: make(load.Vector, b.metrics.Len()), allowed: func(to int) bool {
		return to != c.server && !b.capped(to)
	}})
	if to < 0 {
		return 0
	}
	from, gap := b.share[c.server][m], b.relative(c.server, m)-b.relative(to, m)
	both := load.MulDiv(from, b.share[to][m], max(1, from+b.share[to][m])) // 1/(1/a + 1/b)
	return load.MulDiv(max(0, gap), both, fair)
}

// improves reports whether every cell that rises stays below what the lowered cell was.
func (b *balancer) improves(c cell, i, to int) bool {
	high := b.relative(c.server, c.metric)
	for m, l := range b.loads[i] {
		if share := b.share[to][m]; l > 0 && share > 0 && load.MulDiv(b.settled[to][m]+l, fair, share) >= high {
			return false
		}
	}
	return true
}

func (b *balancer) shift(c cell, i, to int) {
	from, m := c.server, c.metric
	high, low := b.relative(from, m), b.relative(to, m)
	if b.moved[i] {
		b.retarget(i, to)
	} else {
		b.move(i, to, Balance, "")
	}
	b.on[from] = slices.DeleteFunc(b.on[from], func(other int) bool { return other == i })
	b.on[to] = append(b.on[to], i)
	if p, ok := b.planned[i]; ok {
		b.plan.Decisions[p.decision].Why = fmt.Sprintf("%s: %s from %d %% to %d %% of its fair share, %s from %d %% to %d %%",
			b.metrics.Name(m), b.serverID(from), percent(high), percent(b.relative(from, m)),
			b.serverID(to), percent(low), percent(b.relative(to, m)))
	}
}

func percent(relative int64) int64 { return (relative + fair/200) / (fair / 100) }
