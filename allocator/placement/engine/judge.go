package engine

import "github.com/shardmanager/shardmanager/allocator/placement/problem"

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
func (s *Search) Judge(r, to int32) (v Verdict) {
	from := s.place[r]
	if to == from {
		return v
	}
	if v.Refused, v.Metric, v.Level = s.refuses(r, from, to); v.Refused != Allowed {
		return v
	}
	if from != s.m.nowhere {
		s.useWith(from, -1, r, s.useA)
	}
	s.useWith(to, r, -1, s.useB)
	for tier := 1; tier < s.m.tiers; tier++ {
		v.Cost[tier-1] = s.shiftDelta(r, from, to, tier)
	}
	return v
}

// refuses is what keeps replica r from server to.
func (s *Search) refuses(r, from, to int32) (why Refusal, metric, level int) {
	m := s.m
	switch {
	case m.pinned(r):
		return Pinned, 0, 0
	case !m.eligible(r, to):
		return Ineligible, 0, 0
	case !s.fits(r, to):
		return Full, s.scarce(r, to), 0
	case m.Exclusive[m.Group[r]] && s.neighbours(r, to) > 0:
		return Together, 0, 0
	}
	g := m.Group[r]
	for i := m.rowStart[g]; i < m.rowStart[g+1]; i++ {
		if w := &m.rows[i]; !s.rowPermits(i, r, from, to) {
			if others := s.there(i, m.domainOf(w.level, to), r); w.most > 0 && others >= w.most || s.distinct[i] <= w.least && others > 0 {
				return Crowded, 0, int(w.level)
			}
			return Unrelated, 0, int(w.level)
		}
	}
	for _, n := range m.needsOf(g) {
		l := m.rows[n.row].level
		if d := m.domainOf(l, to); d != m.domainOf(l, from) && s.there(n.row, d, -1) > 0 == n.not {
			return Unrelated, 0, int(l)
		}
	}
	if s.capped(r, from, to) {
		return Capped, 0, 0
	}
	return Allowed, 0, 0
}

// Breaks is the constraint that a replica breaks where it is, and at which level; Allowed: none. Capacity is a server's, and not looked at.
func (s *Search) Breaks(r int32) (why Refusal, level int) {
	m, t := s.m, s.place[r]
	g := m.Group[r]
	switch {
	case t == m.nowhere:
		return Allowed, 0
	case !m.eligible(r, t):
		return Ineligible, 0
	case m.Exclusive[g] && s.neighbours(r, t) > 0:
		return Together, 0
	}
	for i := m.rowStart[g]; i < m.rowStart[g+1]; i++ {
		w := &m.rows[i]
		if s.distinct[i] < w.least || w.most > 0 && s.there(i, m.domainOf(w.level, t), -1) > w.most {
			return Crowded, int(w.level)
		}
	}
	for _, n := range m.needsOf(g) {
		if s.there(n.row, m.domainOf(m.rows[n.row].level, t), -1) > 0 == n.not {
			return Unrelated, int(m.rows[n.row].level)
		}
	}
	return Allowed, 0
}

// scarce is the metric of which server t has the least room for replica r, for what it needs.
func (s *state) scarce(r, t int32) int {
	n := s.m.Metrics
	slack, worst, at := s.slack[int(t)*n:][:n:n], int64(0), 0
	for i, l := range s.charged(r, t) {
		if l > 0 && l-slack[i] > worst {
			worst, at = l-slack[i], i
		}
	}
	return at
}
