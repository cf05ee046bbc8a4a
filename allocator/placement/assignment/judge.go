package assignment

import (
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// Refusal is the constraint that keeps a replica from a server.
type Refusal uint8

// Refusals.
const (
	Allowed    Refusal = iota
	Pinned             // the replica stays where it is
	Ineligible         // its class may not be there
	Full               // a metric has no room
	Together           // another replica of its group is there
	Crowded            // its group's spread
	Unrelated          // a relation of its group, or of one that relates to it
	Capped             // too many moves
)

// Verdict is what it would mean that a replica were on another server than it is.
type Verdict struct {
	Refused Refusal
	Metric  int                     // of Full
	Level   int                     // of Crowded and Unrelated
	Cost    [problem.MaxTiers]int64 // by tier, what it would cost more than now; meaningless where it is refused
}

// Judge says what it would mean that a replica were on server to, everything else as it is now.
func (s *State) Judge(r, to int32) (v Verdict) {
	from := s.Place[r]
	if to == from {
		return v
	}
	if v.Refused, v.Metric, v.Level = s.refuses(r, from, to); v.Refused == Allowed {
		v.Cost = s.More(r, to)
	}
	return v
}

// More is what each tier of goals would cost more if replica r were on another server, whether or not that is possible.
func (s *State) More(r, to int32) (cost [problem.MaxTiers]int64) {
	from := s.Place[r]
	for tier := 1; tier < s.M.Tiers; tier++ {
		cost[tier-1] = s.ShiftDelta(r, from, to, tier, layout.Much)
	}
	return cost
}

// refuses is what keeps replica r from server to.
func (s *State) refuses(r, from, to int32) (why Refusal, metric, level int) {
	m := s.M
	switch {
	case m.Pinned(r):
		return Pinned, 0, 0
	case !m.Eligible(r, to):
		return Ineligible, 0, 0
	case !s.Fits(r, to):
		return Full, s.scarce(r, to), 0
	case m.Exclusive[m.Group[r]] && s.neighbours(r, to) > 0:
		return Together, 0, 0
	}
	g := m.Group[r]
	for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
		if w := &m.Rows[i]; !s.rowPermits(i, r, from, to) {
			if others := s.there(i, m.DomainOf(w.Level, to), r); w.Most > 0 && others >= w.Most || s.distinct[i] <= w.Least && others > 0 {
				return Crowded, 0, int(w.Level)
			}
			return Unrelated, 0, int(w.Level)
		}
	}
	for _, n := range m.NeedsOf(g) {
		l := m.Rows[n.Row].Level
		if d := m.DomainOf(l, to); d != m.DomainOf(l, from) && s.there(n.Row, d, -1) > 0 == n.Not {
			return Unrelated, 0, int(l)
		}
	}
	if s.capped(r, from, to) {
		return Capped, 0, 0
	}
	return Allowed, 0, 0
}

// Breaks is the constraint that a replica breaks where it is, and at which level; Allowed: none. Capacity is a server's, and not looked at.
func (s *State) Breaks(r int32) (why Refusal, level int) {
	m, t := s.M, s.Place[r]
	g := m.Group[r]
	switch {
	case t == m.Nowhere:
		return Allowed, 0
	case !m.Eligible(r, t):
		return Ineligible, 0
	case m.Exclusive[g] && s.neighbours(r, t) > 0:
		return Together, 0
	}
	for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
		w := &m.Rows[i]
		if s.distinct[i] < w.Least || w.Most > 0 && s.there(i, m.DomainOf(w.Level, t), -1) > w.Most {
			return Crowded, int(w.Level)
		}
	}
	for _, n := range m.NeedsOf(g) {
		if s.there(n.Row, m.DomainOf(m.Rows[n.Row].Level, t), -1) > 0 == n.Not {
			return Unrelated, int(m.Rows[n.Row].Level)
		}
	}
	return Allowed, 0
}

// scarce is the metric of which server t has the least room for replica r, for what it needs.
func (s *State) scarce(r, t int32) int {
	n := s.M.Metrics
	slack, worst, at := s.Slack[int(t)*n:][:n:n], int64(0), 0
	for i, l := range s.M.Charged(r, t) {
		if l > 0 && l-slack[i] > worst {
			worst, at = l-slack[i], i
		}
	}
	return at
}
