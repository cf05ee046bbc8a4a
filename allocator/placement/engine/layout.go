package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// small is the largest group whose members are counted when asked; larger ones have counters.
const small = 4

// maxCounts bounds the counters of large groups in domains, 4 bytes each.
const maxCounts = 1 << 29

// layRows gives rows to the groups with a spread or a relation, and to those that others relate to.
func (m *model) layRows() error {
	relations := slices.DeleteFunc(slices.Clone(m.Relations), func(d problem.Relation) bool { return d.Group == d.On })
	m.rows = make([]row, 0, len(m.Spreads)+2*len(relations))
	for _, s := range m.Spreads {
		m.rows = append(m.rows, row{group: int32(s.Group), level: int32(s.Level), least: int32(s.Min), most: int32(s.Max), want: int32(s.Want),
			weight: s.Goal.Weight, tier: int32(s.Goal.Tier) + 1})
		if s.Want > 0 && s.Goal.Weight > 0 {
			m.wants[s.Goal.Tier+1] = true
		}
	}
	for _, d := range relations {
		m.rows = append(m.rows, row{group: int32(d.Group), level: int32(d.Level)}, row{group: int32(d.On), level: int32(d.Level)})
	}
	// A spread comes before the rows without one, and stays.
	slices.SortStableFunc(m.rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.level, b.level)) })
	m.rows = slices.CompactFunc(m.rows, func(a, b row) bool { return a.group == b.group && a.level == b.level })
	m.rowStart = make([]int32, m.Groups+1)
	for i := range m.rows {
		w := &m.rows[i]
		w.base = -1
		if m.memberStart[w.group+1]-m.memberStart[w.group] > small {
			w.base = int32(m.cells)
			if m.cells += int(m.width[w.level]); m.cells > maxCounts {
				return fmt.Errorf("engine: counters of large groups in domains: more than %d: %w", maxCounts, problem.ErrLimit)
			}
		}
		m.rowStart[w.group+1]++
	}
	for g := range m.Groups {
		m.rowStart[g+1] += m.rowStart[g]
	}
	m.layRelations(relations)
	return nil
}

// rowAt is the row of a group that has one at a level.
func (m *model) rowAt(group, level int) int32 {
	for i := m.rowStart[group]; ; i++ {
		if m.rows[i].level == int32(level) {
			return i
		}
	}
}

func (m *model) layRelations(relations []problem.Relation) {
	m.needStart = make([]int32, m.Groups+1)
	slices.SortStableFunc(relations, func(a, b problem.Relation) int { return cmp.Compare(a.Group, b.Group) })
	for _, d := range relations {
		m.needStart[d.Group+1]++
		m.needs = append(m.needs, need{row: m.rowAt(d.On, d.Level), not: d.Not})
	}
	for g := range m.Groups {
		m.needStart[g+1] += m.needStart[g]
	}
	slices.SortStableFunc(relations, func(a, b problem.Relation) int {
		return cmp.Or(cmp.Compare(a.On, b.On), cmp.Compare(a.Level, b.Level))
	})
	for not := range 2 {
		for _, d := range relations {
			if d.Not != (not == 1) {
				continue
			}
			on := &m.rows[m.rowAt(d.On, d.Level)]
			from, to := &on.askedFrom, &on.askedTo
			if d.Not {
				from, to = &on.notFrom, &on.notTo
			}
			if *to == 0 {
				*from = int32(len(m.asked))
			}
			m.asked = append(m.asked, m.rowAt(d.Group, d.Level))
			*to = int32(len(m.asked))
		}
	}
}

// layGoals sorts the goals by tier and drops those that cost nothing.
func (m *model) layGoals() {
	for _, g := range byTier(m.Affinities, func(g problem.Affinity) problem.Goal { return g.Goal }) {
		a := affinity{level: int32(g.Level), width: m.width[g.Level], scale: int32(g.Scale), of: g.Of}
		a.cost = make([]int64, len(g.Cost)*int(a.width))
		for i, row := range g.Cost {
			best := 0
			for d, c := range row {
				a.cost[i*int(a.width)+d] = c * g.Weight
				if c < row[best] {
					best = d
				}
			}
			a.best = append(a.best, int32(best))
		}
		m.affinities.add(g.Tier, a)
	}
	thresholds := byTier(m.Thresholds, func(g problem.Threshold) problem.Goal { return g.Goal })
	for _, g := range thresholds {
		m.thresholds.add(g.Tier, threshold{int32(g.Metric), g.Weight})
	}
	for _, g := range byTier(m.Ratios, func(g problem.Ratio) problem.Goal { return g.Goal }) {
		m.ratios.add(g.Tier, ratio{int32(g.A), int32(g.B), g.Target, g.Weight})
	}
	balances := byTier(m.Balances, func(g problem.Balance) problem.Goal { return g.Goal })
	for _, g := range balances {
		m.balances.add(g.Tier, evenness{int32(g.Metric), g.Above, g.Weight})
	}
	m.limit = make([]int64, (m.Servers+1)*len(thresholds))
	for i, g := range thresholds {
		for s, v := range g.Limit {
			m.limit[s*len(thresholds)+i] = v
		}
	}
	m.share = make([]fair, (m.Servers+1)*len(balances))
	for i, g := range balances {
		for s, v := range g.Share {
			f := fair{share: v, unit: g.Unit[s]}
			if g.Slack != nil {
				f.slack = g.Slack[s]
			}
			if g.Free != nil {
				f.free = g.Free[s]
			}
			m.share[s*len(balances)+i] = f
		}
	}
	m.uncapped = m.Caps.Server == nil && m.Caps.Group == 0 && m.Caps.Total == 0
	m.affinities.close()
	m.thresholds.close()
	m.ratios.close()
	m.balances.close()
	if m.Movement.Replica != nil && m.Movement.ReplicaWeight > 0 {
		m.moveCost = make([]int64, m.Replicas)
		for r, c := range m.Movement.Replica {
			m.moveCost[r] = c * m.Movement.ReplicaWeight
		}
	}
}

func byTier[G any](goals []G, of func(G) problem.Goal) []G {
	kept := slices.DeleteFunc(slices.Clone(goals), func(g G) bool { return of(g).Weight == 0 })
	slices.SortStableFunc(kept, func(a, b G) int { return cmp.Compare(of(a).Tier, of(b).Tier) })
	return kept
}

// add appends a goal of a tier of the problem; tiers never go down.
func (t *tiered[G]) add(tier int, g G) {
	t.list = append(t.list, g)
	t.end[tier+1] = int32(len(t.list))
}

func (t *tiered[G]) close() {
	for i := 1; i < len(t.end); i++ {
		t.end[i] = max(t.end[i], t.end[i-1])
	}
}

// of are the goals of a tier of the search, from 1.
func (t *tiered[G]) of(tier int) []G { return t.list[t.end[tier-1]:t.end[tier]] }
