package engine

// shift proposes to move one replica, drawn at random, to a random server or home, where it started.
func (s *Search) shift(home bool) {
	r := int32(s.random.Below(s.M.Replicas))
	from, to := s.Place[r], s.M.Home[r]
	if !home || to == from || to == s.M.Nowhere {
		to = int32(s.random.Below(s.M.Servers))
	}
	if to == from || s.M.Pinned(r) || !s.M.Eligible(r, to) || !s.Fits(r, to) {
		return
	}
	if t := s.tolerance(); s.ShiftDelta(r, from, to, s.active, t) > t {
		return
	}
	for tier := 1; tier < s.active; tier++ {
		if s.ShiftDelta(r, from, to, tier, 0) > 0 {
			return
		}
	}
	if s.Permits(r, from, to) {
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
	if q = s.Partner(r, q, a, b, a); q < 0 || s.M.Group[r] == s.M.Group[q] {
		return
	}
	if s.M.Pinned(r) || s.M.Pinned(q) || !s.M.Eligible(r, b) || !s.M.Eligible(q, a) || !s.FitsFor(r, q, b) || !s.FitsFor(q, r, a) {
		return
	}
	if t := s.tolerance(); s.SwapDelta(r, q, a, b, s.active, t) > t {
		return
	}
	for tier := 1; tier < s.active; tier++ {
		if s.SwapDelta(r, q, a, b, tier, 0) > 0 {
			return
		}
	}
	if s.exchange(r, q) {
		s.note()
	}
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
	s.putBack(r, a)
	return false
}
