package assignment

// mostMoved is how the largest number of moved replicas in a crowd changes, if those of group g change by d and those of another group h by e. If
// there is one change only, e is 0.
func (s *State) mostMoved(g, d, h, e int32) int32 {
	if g, h = s.M.Crowd[g], s.M.Crowd[h]; g == h {
		d, e = d+e, 0
	}
	if d == 0 && e == 0 {
		return 0
	}
	most := s.movedMost
	entering := d + s.crowds[g]
	if e != 0 {
		entering = max(entering, e+s.crowds[h])
	}
	if entering >= most {
		return entering - most
	}
	leaving := int32(0)
	if d < 0 && s.crowds[g] == most {
		leaving++
	}
	if e < 0 && s.crowds[h] == most {
		leaving++
	}
	if leaving == 0 || s.movedHist[most] > leaving {
		return 0
	}
	next := max(entering, most-1)
	if d < -1 || e < -1 { // two of a crowd at once
		for next = most - 1; next > entering && s.movedHist[next] == 0; next-- {
		}
	}
	return next - most
}

// newCrowds counts how many replicas may move together.
func (s *State) newCrowds() {
	crowds := int32(0)
	for _, c := range s.M.Crowd {
		crowds = max(crowds, c+1)
	}
	s.crowds = make([]int32, crowds)
	size := make([]int32, crowds)
	most := int32(0)
	for g, c := range s.M.Crowd {
		size[c] += s.M.MemberStart[g+1] - s.M.MemberStart[g]
		most = max(most, size[c])
	}
	s.movedHist = make([]int32, most+1)
	s.movedHist[0] = crowds
}

// capped reports whether the caps on moves forbid that replica r goes from one server to another.
func (s *State) capped(r, from, to int32) bool {
	c := &s.M.Caps
	if !s.M.Away(r, to) {
		return false
	}
	if c.Server != nil && s.Touched[to] >= c.Server[to] {
		return true
	}
	if s.M.Away(r, from) {
		return false
	}
	return c.Total > 0 && s.MovedAll >= c.Total || c.Group > 0 && s.moved[s.M.Group[r]] >= c.Group ||
		c.Server != nil && s.Touched[s.M.Home[r]] >= c.Server[s.M.Home[r]]
}

// shiftMovement adjusts what movement and places cost for a move of replica r.
func (s *State) shiftMovement(r, from, to int32) {
	m := s.M
	tier := m.Movement.Tier + 1
	s.Costs[tier] += s.M.Moving(r, to) - s.M.Moving(r, from)
	s.Costs[m.Unplaced.Tier+1] += s.placing(from, to)
	if s.M.Away(r, from) {
		s.Touched[from]--
	}
	if s.M.Away(r, to) {
		s.Touched[to]++
	}
	by := s.M.AwayBy(r, from, to)
	if by == 0 {
		return
	}
	s.Touched[m.Home[r]] += by
	s.MovedAll += by
	g := m.Group[r]
	most := s.mostMoved(g, by, g, 0)
	s.Costs[tier] += int64(most) * m.Movement.GroupWeight
	s.movedMost += most
	s.moved[g] += by
	crowd := &s.crowds[m.Crowd[g]]
	s.movedHist[*crowd]--
	*crowd += by
	s.movedHist[*crowd]++
}

// placing is what a move changes in the cost of replicas without a place.
func (s *State) placing(from, to int32) int64 {
	switch s.M.Nowhere {
	case from:
		return -s.M.Unplaced.Weight
	case to:
		return s.M.Unplaced.Weight
	}
	return 0
}
