package engine

// shiftDelta is what a tier costs more if replica r goes from one server to another. useA and useB are what the servers would use.
func (s *state) shiftDelta(r, from, to int32, tier int) int64 {
	m := s.m
	own := int64(m.Tiers)
	d := s.m.Goals(from, tier, s.useA, s.held[from]-1) + s.m.Goals(to, tier, s.useB, s.held[to]+1) -
		s.goal[int64(from)*own+int64(tier)] - s.goal[int64(to)*own+int64(tier)]
	if m.Affinities.End[tier-1] < m.Affinities.End[tier] {
		d += s.m.Place(r, to, tier) - s.m.Place(r, from, tier)
	}
	if tier == m.Movement.Tier+1 {
		d += s.m.Moving(r, to) - s.m.Moving(r, from)
		if w := m.Movement.GroupWeight; w > 0 {
			g := m.Group[r]
			d += w * int64(s.mostMoved(g, s.m.AwayBy(r, from, to), g, 0))
		}
	}
	if tier == m.Unplaced.Tier+1 {
		d += s.placing(from, to)
	}
	if m.Wants[tier] {
		d += s.widened(r, from, to, tier)
	}
	return d
}

// swapDelta is what a tier costs more if replicas r and q of different groups, on servers a and b, change places.
func (s *state) swapDelta(r, q, a, b int32, tier int) int64 {
	m := s.m
	own := int64(m.Tiers)
	d := s.m.Goals(a, tier, s.useA, s.held[a]) + s.m.Goals(b, tier, s.useB, s.held[b]) -
		s.goal[int64(a)*own+int64(tier)] - s.goal[int64(b)*own+int64(tier)]
	if m.Affinities.End[tier-1] < m.Affinities.End[tier] {
		d += s.m.Place(r, b, tier) - s.m.Place(r, a, tier) + s.m.Place(q, a, tier) - s.m.Place(q, b, tier)
	}
	if tier == m.Movement.Tier+1 {
		d += s.m.Moving(r, b) - s.m.Moving(r, a) + s.m.Moving(q, a) - s.m.Moving(q, b)
		if w := m.Movement.GroupWeight; w > 0 {
			d += w * int64(s.mostMoved(m.Group[r], s.m.AwayBy(r, a, b), m.Group[q], s.m.AwayBy(q, b, a)))
		}
	}
	if m.Wants[tier] {
		d += s.widened(r, a, b, tier) + s.widened(q, b, a, tier)
	}
	return d
}

// shift proposes to move one replica, drawn at random, to a random server or home, where it started.
func (s *Search) shift(home bool) {
	r := int32(s.random.Below(s.m.Replicas))
	from, to := s.place[r], s.m.Home[r]
	if !home || to == from || to == s.m.Nowhere {
		to = int32(s.random.Below(s.m.Servers))
	}
	if to == from || !s.admits(r, -1, to) {
		return
	}
	d := int64(0)
	if s.anneal.loose {
		var hopeless bool
		if d, hopeless = s.excessive(r, -1, from, to); hopeless {
			return
		}
	}
	s.useWith(from, -1, r, s.useA)
	s.useWith(to, r, -1, s.useB)
	for tier := 1; tier < s.active; tier++ {
		if d := s.shiftDelta(r, from, to, tier); d > 0 {
			return
		}
	}
	if d+s.shiftDelta(r, from, to, s.active) <= s.tolerance() && s.permits(r, from, to) {
		s.move(r, to)
		s.note()
	}
}

// swap proposes that two replicas of different groups change places: one drawn at random, and one that makes room for it on the server of another
// drawn at random.
func (s *Search) swap() {
	r, q := int32(s.random.Below(s.m.Replicas)), int32(s.random.Below(s.m.Replicas))
	a, b := s.place[r], s.place[q]
	if a == b || a == s.m.Nowhere || b == s.m.Nowhere {
		return
	}
	if !s.anneal.loose {
		if q = s.partner(r, q, a, b, a); q < 0 {
			return
		}
	}
	if s.m.Group[r] == s.m.Group[q] || !s.admits(r, q, b) || !s.admits(q, r, a) {
		return
	}
	d := int64(0)
	if s.anneal.loose {
		var hopeless bool
		if d, hopeless = s.excessive(r, q, a, b); hopeless {
			return
		}
	}
	s.useWith(a, q, r, s.useA)
	s.useWith(b, r, q, s.useB)
	for tier := 1; tier < s.active; tier++ {
		if d := s.swapDelta(r, q, a, b, tier); d > 0 {
			return
		}
	}
	if d+s.swapDelta(r, q, a, b, s.active) <= s.tolerance() && s.exchange(r, q) {
		s.note()
	}
}

// admits reports whether server t may take replica r, which out (or -1) leaves for it, as far as r and t are concerned.
func (s *Search) admits(r, out, t int32) bool {
	if s.m.Pinned(r) || !s.m.Eligible(r, t) {
		return false
	}
	if s.anneal.loose {
		return s.fitsHard(r, out, t)
	}
	if out < 0 {
		return s.fits(r, t)
	}
	return s.fitsFor(r, out, t)
}

// exchange carries out a swap of replicas that fit, if their groups permit it.
func (s *Search) exchange(r, q int32) bool {
	a, b := s.place[r], s.place[q]
	if !s.permits(r, a, b) {
		return false
	}
	s.move(r, b)
	if s.permits(q, b, a) {
		s.move(q, a)
		return true
	}
	s.move(r, a)
	return false
}
