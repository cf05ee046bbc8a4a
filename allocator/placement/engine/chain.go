package engine

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
)

// link is one shift of a chain: each goes where the next one leaves.
type link struct{ r, to int32 }

const (
	mostLinks   = 4
	mostOutlets = 3 // servers that are tried for a replica that makes room
)

// chain proposes that a replica, drawn at random, goes to a server, that one which makes room for it there goes elsewhere, and so on, until one fits
// without that: home, somewhere else, or where the first one left.
func (s *Search) chain() {
	r, q := int32(s.random.Below(s.M.Replicas)), int32(s.random.Below(s.M.Replicas))
	to := s.Place[q]
	a := s.Place[r]
	if a == to || a == s.M.Nowhere || to == s.M.Nowhere || s.M.Pinned(r) || !s.M.Eligible(r, to) {
		return
	}
	s.links = append(s.links[:0], link{r, to})
	for to != a && !s.Fits(r, to) {
		if len(s.links) == mostLinks || s.Held[to] == 0 {
			return
		}
		if len(s.links) > 1 {
			q = s.Turn(to)
		}
		q = s.maker(r, q, to)
		if q < 0 {
			return
		}
		r, to = q, s.outlet(q, to, a)
		linked := slices.ContainsFunc(s.links, func(l link) bool { return l.to == to })
		if linked || !s.M.Eligible(r, to) || to == a && !s.FitsFor(r, s.links[0].r, a) {
			return
		}
		s.links = append(s.links, link{r, to})
	}
	if t := s.tolerance(); s.chainDelta(a) <= t && s.carryThrough(t) {
		s.note()
	}
}

// maker is a replica of server t, from q on, that makes room there for replica r; -1: none was found.
func (s *Search) maker(r, q, t int32) int32 {
	if q = s.Partner(r, q, s.M.Nowhere, t, s.M.Nowhere); q < 0 || s.M.Pinned(q) || !s.FitsFor(r, q, t) {
		return -1
	}
	return q
}

// outlet is a server where replica q may go from server t, and fits if one was found where it does; it may be a, where the first one of a chain leaves.
func (s *Search) outlet(q, t, a int32) int32 {
	if home := s.M.Home[q]; home != t && home != s.M.Nowhere && s.random.Next()&1 == 0 {
		return home
	}
	if s.random.Next()&1 == 0 {
		return a
	}
	to := int32(0)
	for range mostOutlets {
		if to = int32(s.random.Below(s.M.Servers)); to != t && s.Fits(q, to) {
			break
		}
	}
	return to
}

// chainDelta is what a chain from server a adds to the active tier, but for what several links change together: groups.
func (s *Search) chainDelta(a int32) int64 {
	m, tier, d := s.M, s.active, int64(0)
	n, peaks := int64(m.Tiers), s.Peaks(tier)
	s.Touch()
	first, last := s.links[0].r, s.links[len(s.links)-1]
	if last.to != a {
		d = s.Changed(a, -1, first, tier, layout.Much) - s.Goal[int64(a)*n+int64(tier)]
		if peaks {
			s.Raise(a, -1, first, tier)
		}
	}
	for i, l := range s.links {
		out := first
		switch {
		case i+1 < len(s.links):
			out = s.links[i+1].r
		case last.to != a:
			out = -1
		}
		d += s.Changed(l.to, l.r, out, tier, layout.Much) - s.Goal[int64(l.to)*n+int64(tier)]
		if peaks {
			s.Raise(l.to, l.r, out, tier)
		}
		from := s.Place[l.r]
		if m.Affinities.End[tier-1] < m.Affinities.End[tier] {
			d += s.M.Place(l.r, l.to, tier) - s.M.Place(l.r, from, tier)
		}
		if tier == m.Movement.Tier+1 {
			d += s.M.Moving(l.r, l.to) - s.M.Moving(l.r, from)
		}
	}
	if peaks {
		d += s.Peaking(tier)
	}
	return d
}

// carryThrough carries out a chain, if groups permit it and no more than so much is lost.
func (s *Search) carryThrough(tolerance int64) bool {
	before := s.Costs
	for i := range s.links {
		l := &s.links[i]
		from := s.Place[l.r]
		if !s.Permits(l.r, from, l.to) {
			s.takeBack(i)
			return false
		}
		s.move(l.r, l.to)
		l.to = from
	}
	if !s.tolerates(&before, tolerance) {
		s.takeBack(len(s.links))
		return false
	}
	return true
}

// tolerates reports whether no more than so much is lost since before, and nothing in tiers above.
func (s *Search) tolerates(before *assignment.Vector, tolerance int64) bool {
	for tier := range s.active {
		if s.Costs[tier] > before[tier] {
			return false
		}
	}
	return s.Costs[s.active]-before[s.active] <= tolerance
}

// takeBack undoes the first n links, which say now where their replicas were.
func (s *Search) takeBack(n int) {
	for i := n - 1; i >= 0; i-- {
		s.putBack(s.links[i].r, s.links[i].to)
	}
}
