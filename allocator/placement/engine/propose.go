package engine

// shift proposes to move one replica, drawn at random, to a random server or home, where it started.
func (s *Search) shift(home bool) {
	r := int32(s.random.Below(s.M.Replicas))
	from, to := s.Place[r], s.M.Home[r]
	if !home || to == from || to == s.M.Nowhere {
		to = int32(s.random.Below(s.M.Servers))
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
	s.UseWith(from, -1, r, s.UseA)
	s.UseWith(to, r, -1, s.UseB)
	for tier := 1; tier < s.active; tier++ {
		if d := s.ShiftDelta(r, from, to, tier); d > 0 {
			return
		}
	}
	if d+s.ShiftDelta(r, from, to, s.active) <= s.tolerance() && s.Permits(r, from, to) {
		s.move(r, to)
		s.note()
	}
}

// swap proposes that two replicas of different groups change places: one drawn at random, and one that makes room for it on the server of another
// drawn at random.
func (s *Search) swap() {
	r, q := int32(s.random.Below(s.M.Replicas)), int32(s.random.Below(s.M.Replicas))
	a, b := s.Place[r], s.Place[q]
	if a == b || a == s.M.Nowhere || b == s.M.Nowhere {
		return
	}
	if !s.anneal.loose {
		if q = s.Partner(r, q, a, b, a); q < 0 {
			return
		}
	}
	if s.M.Group[r] == s.M.Group[q] || !s.admits(r, q, b) || !s.admits(q, r, a) {
		return
	}
	d := int64(0)
	if s.anneal.loose {
		var hopeless bool
		if d, hopeless = s.excessive(r, q, a, b); hopeless {
			return
		}
	}
	s.UseWith(a, q, r, s.UseA)
	s.UseWith(b, r, q, s.UseB)
	for tier := 1; tier < s.active; tier++ {
		if d := s.SwapDelta(r, q, a, b, tier); d > 0 {
			return
		}
	}
	if d+s.SwapDelta(r, q, a, b, s.active) <= s.tolerance() && s.exchange(r, q) {
		s.note()
	}
}

// admits reports whether server t may take replica r, which out (or -1) leaves for it, as far as r and t are concerned.
func (s *Search) admits(r, out, t int32) bool {
	if s.M.Pinned(r) || !s.M.Eligible(r, t) {
		return false
	}
	if s.anneal.loose {
		return s.fitsHard(r, out, t)
	}
	if out < 0 {
		return s.Fits(r, t)
	}
	return s.FitsFor(r, out, t)
}

// exchange carries out a swap of replicas that fit, if their groups permit it.
func (s *Search) exchange(r, q int32) bool {
	a, b := s.Place[r], s.Place[q]
	if !s.Permits(r, a, b) {
		return false
	}
	s.move(r, b)
	if s.Permits(q, b, a) {
		s.move(q, a)
		return true
	}
	s.move(r, a)
	return false
}
