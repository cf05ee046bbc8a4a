package engine

// mostMoved is how the largest number of moved replicas in a group changes, if those of group g change by d and those of another
// group h by e. If there is one change only, e is 0.
func (s *state) mostMoved(g, d, h, e int32) int32 {
	if d == 0 && e == 0 {
		return 0
	}
	most := s.movedMost
	entering := d + s.moved[g]
	if e != 0 {
		entering = max(entering, e+s.moved[h])
	}
	if entering >= most {
		return entering - most
	}
	leaving := int32(0)
	if d < 0 && s.moved[g] == most {
		leaving++
	}
	if e < 0 && s.moved[h] == most {
		leaving++
	}
	if leaving > 0 && s.movedHist[most] == leaving {
		return -1
	}
	return 0
}

// capped reports whether the caps on moves forbid that replica r goes from one server to another.
func (s *state) capped(r, from, to int32) bool {
	c := &s.m.Caps
	if !s.m.Away(r, to) {
		return false
	}
	if c.Server != nil && s.touched[to] >= c.Server[to] {
		return true
	}
	if s.m.Away(r, from) {
		return false
	}
	return c.Total > 0 && s.movedAll >= c.Total || c.Group > 0 && s.moved[s.m.Group[r]] >= c.Group ||
		c.Server != nil && s.touched[s.m.Home[r]] >= c.Server[s.m.Home[r]]
}

// shiftMovement adjusts what movement and places cost for a move of replica r.
func (s *state) shiftMovement(r, from, to int32) {
	m := s.m
	tier := m.Movement.Tier + 1
	s.cost[tier] += s.m.Moving(r, to) - s.m.Moving(r, from)
	s.cost[m.Unplaced.Tier+1] += s.placing(from, to)
	if s.m.Away(r, from) {
		s.touched[from]--
	}
	if s.m.Away(r, to) {
		s.touched[to]++
	}
	by := s.m.AwayBy(r, from, to)
	if by == 0 {
		return
	}
	s.touched[m.Home[r]] += by
	s.movedAll += by
	g := m.Group[r]
	most := s.mostMoved(g, by, g, 0)
	s.cost[tier] += int64(most) * m.Movement.GroupWeight
	s.movedMost += most
	s.movedHist[s.moved[g]]--
	s.moved[g] += by
	s.movedHist[s.moved[g]]++
}

// placing is what a move changes in the cost of replicas without a place.
func (s *state) placing(from, to int32) int64 {
	switch s.m.Nowhere {
	case from:
		return -s.m.Unplaced.Weight
	case to:
		return s.m.Unplaced.Weight
	}
	return 0
}
