package layout

import (
	"math"
	"slices"
	"sort"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// bound is what each tier costs at least, whatever is above it. All servers are pooled into one: the sum of positive parts is never less than the
// positive part of the sum. A replica that has a place keeps one, and those without may stay so; movement and the other goals may cost nothing.
func (m *Model) bound() (least [problem.MaxTiers + 1]int64) {
	n := m.Metrics
	load, room := make([]int64, n), make([]int64, n)
	placed := m.Home
	if m.First != nil {
		placed = m.First
	}
	all := true
	for r, t := range placed {
		if t == m.Nowhere || t == problem.Unplaced {
			all = false
			continue
		}
		for i := range n {
			load[i] += m.Load[r*n+i]
		}
		for tier := 1; tier < m.Tiers; tier++ {
			for i := range m.Affinities.Of(tier) {
				least[tier] += m.leastAffinity(int32(r), &m.Affinities.Of(tier)[i])
			}
		}
	}
	for i, c := range m.Capacity {
		room[i%n] += c
	}
	for tier := 1; tier < m.Tiers; tier++ {
		for i := m.Thresholds.End[tier-1]; i < m.Thresholds.End[tier]; i++ {
			over := load[m.Thresholds.List[i].Metric]
			for s := 0; s < m.Servers && over > 0; s++ { // no further: limits may be as high as numbers go
				over -= m.Limit[s*len(m.Thresholds.List)+int(i)]
			}
			per := int64(0)
			for s := range m.Servers {
				per = max(per, m.Per[s*len(m.Thresholds.List)+int(i)])
			}
			if per > 0 && over > 0 {
				over = millionths(over, per)
			}
			least[tier] += m.Thresholds.List[i].Weight * max(0, over)
		}
		for i := m.Peaks.End[tier-1]; i < m.Peaks.End[tier]; i++ {
			if g := &m.Peaks.List[i]; g.Whole {
				least[tier] += g.Weight * m.leastPeak(int(i), load[g.Metric])
			}
		}
		for _, g := range m.Ratios.Of(tier) {
			if all {
				least[tier] += g.Weight * max(0, g.Target*(room[g.A]-load[g.A])-(room[g.B]-load[g.B]))
			}
		}
	}
	return least
}

// leastPeak is what a peak among all servers costs at least with so much load: as if that could be poured over them.
func (m *Model) leastPeak(peak int, load int64) int64 {
	height := sort.Search(problem.MaxUnits, func(height int) bool {
		left := load
		for s := 0; s < m.Servers && left > 0; s++ {
			f := &m.PeakShare[s*len(m.Peaks.List)+peak]
			if f.Unit > left { // it takes that in steps of one
				return true
			}
			left = min(left-(f.Share+f.Slack+f.Unit-1), math.MaxInt64/4)
			left -= min(int64(height)+f.Free, max(0, left/f.Unit+1)) * f.Unit // no further: units may be as large as numbers go
		}
		return left <= 0
	})
	if height == 0 {
		return 0
	}
	return int64(height-1)*int64(m.Servers) + 1
}

// leastAffinity is what a replica costs where it costs least.
func (m *Model) leastAffinity(r int32, g *Affinity) int64 {
	c := g.Cost[g.Of[r]*g.Width+g.Best[g.Of[r]]]
	if g.Scale >= 0 {
		c *= m.Load[int(r)*m.Metrics+int(g.Scale)]
	}
	return c
}

// LeastMove is what it costs at least that anything moved; 0 also if replicas without a place may come for nothing.
func (m *Model) LeastMove() int64 {
	if slices.Contains(m.Home, m.Nowhere) || m.Servers == 1 || m.Replicas == 0 {
		return 0
	}
	least := int64(0)
	if m.MoveCost != nil {
		least = slices.Min(m.MoveCost)
	}
	if route := m.Movement.Route; route != nil {
		cheapest := int64(math.MaxUint32)
		for i, c := range route {
			if i%(m.Servers+1) != 0 { // not from a server to itself
				cheapest = min(cheapest, int64(c))
			}
		}
		least += m.Movement.RouteWeight * cheapest
	}
	return least + m.Movement.GroupWeight
}
