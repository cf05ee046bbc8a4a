package layout

import (
	"math/bits"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// LoadOf is the load of replica r.
func (m *Model) LoadOf(r int32) []int64 {
	n := m.Metrics
	return m.Load[int(r)*n:][:n:n]
}

// Charged is the load that server t is charged with, in capacity, if replica r comes: where r started, what is charged during a move is
// charged already.
func (m *Model) Charged(r, t int32) []int64 {
	n := m.Metrics
	if m.Home[r] == t {
		if m.Soft == nil {
			return m.Zero
		}
		return m.Soft[int(r)*n:][:n:n]
	}
	return m.Load[int(r)*n:][:n:n]
}

// Much is more than any tier costs.
const Much = 1 << 62

// Goals is what server t would cost by itself in a goals' tier (from 1) with the given use of its metrics and number of replicas.
func (m *Model) Goals(t int32, tier int, use []int64, held int32) int64 {
	return m.Changed(t, tier, use, m.Zero, m.Zero, held, Much)
}

// Changed is Goals with more than the given use, and less. Where it is above most, any amount above most is as good.
func (m *Model) Changed(t int32, tier int, use, more, less []int64, held int32, most int64) int64 {
	if t == m.Nowhere || !m.Serves[tier] {
		return 0
	}
	cost := int64(0)
	use = use[:len(more)]
	less = less[:len(more)]
	n := len(m.Thresholds.List)
	limit := m.Limit[int(t)*n:][:n:n]
	list := m.Thresholds.List[:len(limit)]
	for i := m.Thresholds.End[tier-1]; i < m.Thresholds.End[tier]; i++ {
		g := &list[i]
		if over := use[g.Metric] + more[g.Metric] - less[g.Metric] - limit[i]; over > 0 {
			if per := m.Per[int(t)*n+int(i)]; per > 0 {
				over = millionths(over, per)
			}
			if cost += g.Weight * over; cost > most {
				return cost
			}
		}
	}
	if m.Ratios.End[tier-1] < m.Ratios.End[tier] {
		capacity := m.Capacity[int(t)*m.Metrics:][:m.Metrics]
		free := func(i int32) int64 { return capacity[i] - use[i] - more[i] + less[i] }
		for _, g := range m.Ratios.Of(tier) {
			cost += g.Weight * max(0, g.Target*free(g.A)-free(g.B))
		}
	}
	if m.Balances.End[tier-1] < m.Balances.End[tier] && cost <= most {
		cost += m.unevenness(t, tier, use, more, less, most-cost)
	}
	if held > 0 && m.Opening.Cost != nil && tier == m.Opening.Tier+1 {
		cost += m.Opening.Weight * m.Opening.Cost[t]
	}
	return cost
}

// millionths are how many of a capacity an excess is, begun ones too.
func millionths(over, per int64) int64 {
	hi, lo := bits.Mul64(uint64(over), 1_000_000)
	if hi >= uint64(per) {
		return problem.MaxMillionths
	}
	n, rest := bits.Div64(hi, lo, uint64(per))
	if rest > 0 {
		n++
	}
	return int64(min(n, problem.MaxMillionths))
}

func (m *Model) unevenness(t int32, tier int, use, more, less []int64, most int64) int64 {
	cost := int64(0)
	n := len(m.Balances.List)
	share := m.Share[int(t)*n:][:n:n]
	for i := m.Balances.End[tier-1]; i < m.Balances.End[tier]; i++ {
		g := &m.Balances.List[i]
		f := &share[i]
		off := use[g.Metric] + more[g.Metric] - less[g.Metric] - f.Share
		if off < 0 {
			if g.Above {
				continue
			}
			off = -off
		}
		if off -= f.Slack; off > 0 {
			u := f.units(off)
			if cost += g.Weight * max(0, u*u-f.Free); cost > most {
				break
			}
		}
	}
	return cost
}

// Height is how high server t would be for a peak, by its place in the list, if it used so much of the metric.
func (m *Model) Height(peak int, t int32, use int64) int32 {
	f := &m.PeakShare[int(t)*len(m.Peaks.List)+peak]
	off := use - f.Share - f.Slack
	if off <= 0 {
		return 0
	}
	return int32(max(0, min(off/f.Unit, problem.MaxUnits)-f.Free))
}

// units is how many whole units an amount has, at most MaxUnits. Division by multiplication is off by one at most.
func (f *Fair) units(amount int64) int64 {
	u := int64(float64(amount) * f.per)
	switch {
	case u > problem.MaxUnits:
		return problem.MaxUnits
	case u*f.Unit > amount:
		u--
	case (u+1)*f.Unit <= amount:
		u++
	}
	return min(u, problem.MaxUnits)
}

// Place is what replica r costs in a goals' tier by its place.
func (m *Model) Place(r, t int32, tier int) int64 {
	cost := int64(0)
	if t == m.Nowhere {
		return 0
	}
	for i := m.Affinities.End[tier-1]; i < m.Affinities.End[tier]; i++ {
		g := &m.Affinities.List[i]
		c := g.Cost[g.Of[r]*g.Width+m.DomainOf(g.Level, t)]
		if g.Scale >= 0 {
			c *= m.Load[int(r)*m.Metrics+int(g.Scale)]
		}
		cost += c
	}
	return cost
}

// Away reports whether a replica at a server counts as moved.
func (m *Model) Away(r, t int32) bool {
	start := m.Home[r]
	return t != start && t != m.Nowhere && start != m.Nowhere
}

// Moving is what it costs that replica r is at server t, without its group's share.
func (m *Model) Moving(r, t int32) int64 {
	if !m.Away(r, t) {
		return 0
	}
	cost := int64(0)
	if m.MoveCost != nil {
		cost = m.MoveCost[r]
	}
	if route := m.Movement.Route; route != nil {
		cost += m.Movement.RouteWeight * int64(route[int(m.Home[r])*m.Servers+int(t)])
	}
	return cost
}

// AwayBy is how the number of moved replicas of its group changes by a move of replica r: -1, 0 or 1.
func (m *Model) AwayBy(r, from, to int32) int32 {
	by := int32(0)
	if m.Away(r, to) {
		by++
	}
	if m.Away(r, from) {
		by--
	}
	return by
}

// OverflowCost is what one metric over capacity costs in tier 0: 1, and the excess in thousandths of the capacity, so that each
// step towards room is worth something.
func OverflowCost(excess, capacity int64) int64 {
	return 1 + min(excess/(capacity/1000+1), 1<<30)
}
