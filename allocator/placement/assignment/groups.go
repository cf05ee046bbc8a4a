package assignment

// Permits reports whether replica r may go from one server to another as far as its group and those that relate to it are concerned: no
// constraint between replicas is broken, or broken further.
func (s *State) Permits(r, from, to int32) bool { return s.Admits(r, from, to) && s.meets(r, from, to) }

// Admits is Permits but for the relations of the replica's own group: whom it needs may come later.
func (s *State) Admits(r, from, to int32) bool {
	m := s.M
	g := m.Group[r]
	if !m.Uncapped && s.capped(r, from, to) {
		return false
	}
	if m.Exclusive[g] && to != m.Nowhere && s.neighbours(r, to) > 0 {
		return false
	}
	for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
		if !s.rowPermits(i, r, from, to) {
			return false
		}
	}
	return true
}

// meets reports whether a replica meets whom its group needs, and nobody whom it must not.
func (s *State) meets(r, from, to int32) bool {
	m := s.M
	for _, n := range m.NeedsOf(m.Group[r]) {
		level := m.Rows[n.Row].Level
		d, now := m.DomainOf(level, to), m.DomainOf(level, from)
		if d != now && to != m.Nowhere && s.there(n.Row, d, -1) > 0 == n.Not {
			return false
		}
	}
	return true
}

// neighbours is how many others of its group are on a server.
func (s *State) neighbours(r, server int32) int64 {
	n := int64(0)
	for _, other := range s.M.MembersOf(s.M.Group[r]) {
		if s.Place[other] == server && other != r {
			n++
		}
	}
	return n
}

// there is how many replicas of a row's group are in a domain, without r.
func (s *State) there(i, d, r int32) int32 {
	w := &s.M.Rows[i]
	n := int32(0)
	if w.Base >= 0 {
		n = s.count[w.Base+d]
		if r >= 0 && s.M.Group[r] == w.Group && s.M.DomainOf(w.Level, s.Place[r]) == d {
			n--
		}
		return n
	}
	domain := s.M.Domain[int(w.Level)*(s.M.Servers+1):]
	for _, other := range s.M.MembersOf(w.Group) {
		if domain[s.Place[other]] == d && other != r {
			n++
		}
	}
	return n
}

// rowPermits checks the spread, and that nobody who relates to the group is left alone in the domain that the replica leaves, or meets
// it in the one where it comes.
func (s *State) rowPermits(i, r, from, to int32) bool {
	w := &s.M.Rows[i]
	a, b := s.M.DomainOf(w.Level, from), s.M.DomainOf(w.Level, to)
	if a == b {
		return true
	}
	others := s.there(i, b, r)
	if to != s.M.Nowhere {
		if w.Most > 0 && others >= w.Most {
			return false
		}
		if others == 0 && s.related(w.NotFrom, w.NotTo, b) > 0 {
			return false
		}
	}
	if from == s.M.Nowhere || s.there(i, a, r) > 0 {
		return true
	}
	if s.distinct[i] <= w.Least && (to == s.M.Nowhere || others > 0) {
		return false
	}
	return s.related(w.AskedFrom, w.AskedTo, a) == 0
}

// related is how many replicas of the rows that relate to one are in a domain.
func (s *State) related(from, to, d int32) int64 {
	n := int64(0)
	for _, j := range s.M.Asked[from:to] {
		n += int64(s.there(j, d, -1))
	}
	return n
}

// Mended is by how much less would be broken if replica r went from one server to another, which is permitted and where it fits.
func (s *State) Mended(r, from, to int32) int64 {
	m := s.M
	g := m.Group[r]
	n := s.Goal[int(from)*m.Tiers] - s.OverflowWithout(r, from)
	if s.pairs > 0 && m.Exclusive[g] && from != m.Nowhere {
		n += s.neighbours(r, from)
	}
	if s.astray > 0 && !m.Eligible(r, from) {
		n++
	}
	if s.lacking == 0 {
		return n
	}
	for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
		n += s.rowMended(i, r, from, to)
	}
	return n + s.unmet(g, from) - s.unmet(g, to)
}

func (s *State) rowMended(i, r, from, to int32) int64 {
	w := &s.M.Rows[i]
	a, b := s.M.DomainOf(w.Level, from), s.M.DomainOf(w.Level, to)
	if a == b {
		return 0
	}
	n := int64(0)
	gone, others := int32(0), s.there(i, a, r)
	if from != s.M.Nowhere {
		if others == 0 {
			gone = 1
			n += s.related(w.NotFrom, w.NotTo, a)
		}
		if w.Most > 0 && others >= w.Most {
			n++
		}
	}
	come := int32(0)
	if to != s.M.Nowhere && s.there(i, b, r) == 0 {
		come = 1
		n += s.related(w.AskedFrom, w.AskedTo, b)
	}
	return n + int64(max(0, w.Least-s.distinct[i])-max(0, w.Least-s.distinct[i]-come+gone))
}

// unmet is how many relations of a group's replica are broken at a server.
func (s *State) unmet(g, server int32) int64 {
	if server == s.M.Nowhere {
		return 0
	}
	n := int64(0)
	for _, need := range s.M.NeedsOf(g) {
		if s.there(need.Row, s.M.DomainOf(s.M.Rows[need.Row].Level, server), -1) > 0 == need.Not {
			n++
		}
	}
	return n
}

// widened is what the soft spreads of a tier cost more if replica r goes from one server to another.
func (s *State) widened(r, from, to int32, tier int) int64 {
	m, cost := s.M, int64(0)
	g := m.Group[r]
	for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
		w := &m.Rows[i]
		if w.Want == 0 || int(w.Tier) != tier {
			continue
		}
		a, b := m.DomainOf(w.Level, from), m.DomainOf(w.Level, to)
		if a == b {
			continue
		}
		after := s.distinct[i]
		if from != m.Nowhere && s.there(i, a, r) == 0 {
			after--
		}
		if to != m.Nowhere && s.there(i, b, r) == 0 {
			after++
		}
		cost += w.Weight * int64(max(0, w.Want-after)-max(0, w.Want-s.distinct[i]))
	}
	return cost
}

// shiftGroup moves replica r in the counters of its group; s.Place still has its old place.
func (s *State) shiftGroup(r, from, to int32, careful bool) {
	m := s.M
	g := m.Group[r]
	for tier := 1; tier < m.Tiers; tier++ {
		if m.Wants[tier] {
			s.Costs[tier] += s.widened(r, from, to, tier)
		}
	}
	if careful {
		if m.Exclusive[g] {
			if from != m.Nowhere {
				s.pairs -= s.neighbours(r, from)
			}
			if to != m.Nowhere {
				s.pairs += s.neighbours(r, to)
			}
		}
		if !m.Eligible(r, from) {
			s.astray--
		}
		if !m.Eligible(r, to) {
			s.astray++
		}
		s.lacking -= s.unmet(g, from)
	}
	for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
		w := &m.Rows[i]
		if a, b := m.DomainOf(w.Level, from), m.DomainOf(w.Level, to); a != b {
			s.leave(i, a, r, careful)
			s.enter(i, b, r, careful)
			if w.Base >= 0 {
				s.count[w.Base+a]--
				s.count[w.Base+b]++
			}
		}
	}
	if careful {
		s.lacking += s.unmet(g, to)
	}
}

// leave and enter adjust what is known of a row, and of those that relate to it, when replica r goes from or to a domain.
func (s *State) leave(i, d, r int32, careful bool) {
	w := &s.M.Rows[i]
	if d == s.M.Width[w.Level]-1 {
		return
	}
	others := s.there(i, d, r)
	if careful && w.Most > 0 && others >= w.Most {
		s.lacking--
	}
	if others > 0 {
		return
	}
	s.distinct[i]--
	if s.distinct[i] < w.Least {
		s.lacking++
	}
	if careful {
		s.lacking += s.related(w.AskedFrom, w.AskedTo, d) - s.related(w.NotFrom, w.NotTo, d)
	}
}

func (s *State) enter(i, d, r int32, careful bool) {
	w := &s.M.Rows[i]
	if d == s.M.Width[w.Level]-1 {
		return
	}
	others := s.there(i, d, r)
	if careful && w.Most > 0 && others >= w.Most {
		s.lacking++
	}
	if others > 0 {
		return
	}
	s.distinct[i]++
	if s.distinct[i] <= w.Least {
		s.lacking--
	}
	if careful {
		s.lacking += s.related(w.NotFrom, w.NotTo, d) - s.related(w.AskedFrom, w.AskedTo, d)
	}
}

// countRow counts a row from nothing, and what is broken of its spread.
func (s *State) countRow(i int32) {
	m := s.M
	w := &m.Rows[i]
	members := m.MembersOf(w.Group)
	for k, r := range members {
		d := m.DomainOf(w.Level, s.Place[r])
		before := int32(0) // members in the domain that were counted
		if w.Base >= 0 {
			before = s.count[w.Base+d]
			s.count[w.Base+d]++
		} else {
			for _, other := range members[:k] {
				if m.DomainOf(w.Level, s.Place[other]) == d {
					before++
				}
			}
		}
		if s.Place[r] == m.Nowhere {
			continue
		}
		if before == 0 {
			s.distinct[i]++
		}
		if w.Most > 0 && before >= w.Most {
			s.lacking++
		}
	}
	s.lacking += int64(max(0, w.Least-s.distinct[i]))
	if w.Want > 0 {
		s.Costs[w.Tier] += w.Weight * int64(max(0, w.Want-s.distinct[i]))
	}
}

// countBroken counts from nothing what is broken between replicas, but for spreads.
func (s *State) countBroken() {
	m := s.M
	for r, t := range s.Place {
		r := int32(r)
		if t == m.Nowhere {
			continue
		}
		if !m.Eligible(r, t) {
			s.astray++
		}
		s.lacking += s.unmet(m.Group[r], t)
		if m.Exclusive[m.Group[r]] {
			for _, other := range m.MembersOf(m.Group[r]) {
				if other < r && s.Place[other] == t {
					s.pairs++
				}
			}
		}
	}
}
