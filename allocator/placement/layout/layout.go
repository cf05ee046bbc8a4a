package layout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/summit"
)

// small is the largest group whose members are counted when asked; larger ones have counters.
const small = 4

// maxCounts bounds the counters of large groups in domains, 4 bytes each.
const maxCounts = 1 << 29

// layRows gives rows to the groups with a spread or a relation, and to those that others relate to.
func (m *Model) layRows() error {
	relations := slices.DeleteFunc(slices.Clone(m.Relations), func(d problem.Relation) bool { return d.Group == d.On })
	m.Rows = make([]Row, 0, len(m.Spreads)+2*len(relations))
	for _, s := range m.Spreads {
		m.Rows = append(m.Rows, Row{Group: int32(s.Group), Level: int32(s.Level), Least: int32(s.Min), Most: int32(s.Max), Want: int32(s.Want),
			Weight: s.Goal.Weight, Tier: int32(s.Goal.Tier) + 1})
		if s.Want > 0 && s.Goal.Weight > 0 {
			m.Wants[s.Goal.Tier+1] = true
		}
	}
	for _, d := range relations {
		m.Rows = append(m.Rows, Row{Group: int32(d.Group), Level: int32(d.Level)}, Row{Group: int32(d.On), Level: int32(d.Level)})
	}
	// A spread comes before the rows without one, and stays.
	slices.SortStableFunc(m.Rows, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Level, b.Level)) })
	m.Rows = slices.CompactFunc(m.Rows, func(a, b Row) bool { return a.Group == b.Group && a.Level == b.Level })
	m.RowStart = make([]int32, m.Groups+1)
	for i := range m.Rows {
		w := &m.Rows[i]
		w.Base = -1
		if m.MemberStart[w.Group+1]-m.MemberStart[w.Group] > small {
			w.Base = int32(m.Cells)
			if m.Cells += int(m.Width[w.Level]); m.Cells > maxCounts {
				return fmt.Errorf("layout: counters of large groups in domains: more than %d: %w", maxCounts, problem.ErrLimit)
			}
		}
		m.RowStart[w.Group+1]++
	}
	for g := range m.Groups {
		m.RowStart[g+1] += m.RowStart[g]
	}
	m.layRelations(relations)
	return nil
}

// rowAt is the row of a group that has one at a level.
func (m *Model) rowAt(group, level int) int32 {
	for i := m.RowStart[group]; ; i++ {
		if m.Rows[i].Level == int32(level) {
			return i
		}
	}
}

func (m *Model) layRelations(relations []problem.Relation) {
	m.needStart = make([]int32, m.Groups+1)
	slices.SortStableFunc(relations, func(a, b problem.Relation) int { return cmp.Compare(a.Group, b.Group) })
	for _, d := range relations {
		m.needStart[d.Group+1]++
		m.needs = append(m.needs, Need{Row: m.rowAt(d.On, d.Level), Not: d.Not})
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
			on := &m.Rows[m.rowAt(d.On, d.Level)]
			from, to := &on.AskedFrom, &on.AskedTo
			if d.Not {
				from, to = &on.NotFrom, &on.NotTo
			}
			if *to == 0 {
				*from = int32(len(m.Asked))
			}
			m.Asked = append(m.Asked, m.rowAt(d.Group, d.Level))
			*to = int32(len(m.Asked))
		}
	}
}

// layGoals sorts the goals by tier and drops those that cost nothing.
func (m *Model) layGoals() {
	for _, g := range byTier(m.Problem.Affinities, func(g problem.Affinity) problem.Goal { return g.Goal }) {
		a := Affinity{Level: int32(g.Level), Width: m.Width[g.Level], Scale: int32(g.Scale), Of: g.Of}
		a.Cost = make([]int64, len(g.Cost)*int(a.Width))
		for i, row := range g.Cost {
			best := 0
			for d, c := range row {
				a.Cost[i*int(a.Width)+d] = c * g.Weight
				if c < row[best] {
					best = d
				}
			}
			a.Best = append(a.Best, int32(best))
		}
		m.Affinities.add(g.Tier, a)
	}
	thresholds := byTier(m.Problem.Thresholds, func(g problem.Threshold) problem.Goal { return g.Goal })
	for _, g := range thresholds {
		m.Thresholds.add(g.Tier, Threshold{int32(g.Metric), g.Weight})
	}
	for _, g := range byTier(m.Problem.Ratios, func(g problem.Ratio) problem.Goal { return g.Goal }) {
		m.Ratios.add(g.Tier, Ratio{int32(g.A), int32(g.B), g.Target, g.Weight})
	}
	balances := byTier(m.Problem.Balances, func(g problem.Balance) problem.Goal { return g.Goal })
	for _, g := range balances {
		m.Balances.add(g.Tier, Evenness{int32(g.Metric), g.Above, g.Weight})
	}
	m.Limit, m.Per = make([]int64, (m.Servers+1)*len(thresholds)), make([]int64, (m.Servers+1)*len(thresholds))
	for i, g := range thresholds {
		for s, v := range g.Limit {
			m.Limit[s*len(thresholds)+i] = v
			if g.Per != nil {
				m.Per[s*len(thresholds)+i] = g.Per[s]
			}
		}
	}
	m.Share = m.fair(balances)
	m.layPeaks()
	m.Uncapped = m.Caps.Server == nil && m.Caps.Group == 0 && m.Caps.Total == 0
	m.Affinities.close()
	m.Thresholds.close()
	m.Ratios.close()
	m.Balances.close()
	m.Peaks.close()
	for t := 1; t < m.Tiers; t++ {
		m.Serves[t] = len(m.Thresholds.Of(t))+len(m.Ratios.Of(t))+len(m.Balances.Of(t)) > 0 || m.Opening.Cost != nil && t == m.Opening.Tier+1
	}
	if m.Crowd = m.Movement.Crowd; m.Crowd == nil {
		m.Crowd = make([]int32, m.Groups)
		for g := range m.Crowd {
			m.Crowd[g] = int32(g)
		}
	}
	if m.Movement.Replica != nil && m.Movement.ReplicaWeight > 0 {
		m.MoveCost = make([]int64, m.Replicas)
		for r, c := range m.Movement.Replica {
			m.MoveCost[r] = c * m.Movement.ReplicaWeight
		}
	}
}

func (m *Model) layPeaks() {
	peaks := byTier(m.Problem.Peaks, func(g problem.Balance) problem.Goal { return g.Goal })
	for _, g := range peaks {
		domain := make([]int32, m.Servers)
		if g.Level >= 0 {
			domain = m.Problem.Domains[g.Level]
		}
		m.Peaks.add(g.Tier, Peak{int32(g.Metric), g.Weight, g.Level < 0, summit.New(domain)})
	}
	m.PeakShare = m.fair(peaks)
}

// fair lays out what is fair by balances, server by server.
func (m *Model) fair(balances []problem.Balance) []Fair {
	list := make([]Fair, (m.Servers+1)*len(balances))
	for i, g := range balances {
		for s, v := range g.Share {
			f := Fair{Share: v, Unit: g.Unit[s], per: 1 / float64(g.Unit[s])}
			if g.Slack != nil {
				f.Slack = g.Slack[s]
			}
			if g.Free != nil {
				f.Free = g.Free[s]
			}
			list[s*len(balances)+i] = f
		}
	}
	return list
}

func byTier[G any](goals []G, of func(G) problem.Goal) []G {
	kept := slices.DeleteFunc(slices.Clone(goals), func(g G) bool { return of(g).Weight == 0 })
	slices.SortStableFunc(kept, func(a, b G) int { return cmp.Compare(of(a).Tier, of(b).Tier) })
	return kept
}

// add appends a goal of a tier of the problem; tiers never go down.
func (t *Tiered[G]) add(tier int, g G) {
	t.List = append(t.List, g)
	t.End[tier+1] = int32(len(t.List))
}

func (t *Tiered[G]) close() {
	for i := 1; i < len(t.End); i++ {
		t.End[i] = max(t.End[i], t.End[i-1])
	}
}

// Of are the goals of a tier of the search, from 1.
func (t *Tiered[G]) Of(tier int) []G { return t.List[t.End[tier-1]:t.End[tier]] }
