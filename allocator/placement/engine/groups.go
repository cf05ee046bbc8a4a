package engine

// permits reports whether replica r may go from one server to another as far as its group and those that relate to it are concerned: no
// constraint between replicas is broken, or broken further.
func (s *state) permits(r, from, to int32) bool {
	m := s.m
	g := m.Group[r]
	if !m.uncapped && s.capped(r, from, to) {
		return false
	}
	if m.Exclusive[g] && to != m.nowhere && s.neighbours(r, to) > 0 {
		return false
	}
	for i := m.rowStart[g]; i < m.rowStart[g+1]; i++ {
		if !s.rowPermits(i, r, from, to) {
			return false
		}
	}
	for _, n := range m.needsOf(g) {
		level := m.rows[n.row].level
		d, now := m.domainOf(level, to), m.domainOf(level, from)
		if d != now && to != m.nowhere && s.there(n.row, d, -1) > 0 == n.not {
			return false
		}
	}
	return true
}

// neighbours is how many others of its group are on a server.
func (s *state) neighbours(r, server int32) int64 {
	n := int64(0)
	for _, other := range s.m.membersOf(s.m.Group[r]) {
		if s.place[other] == server && other != r {
			n++
		}
	}
	return n
}

// there is how many replicas of a row's group are in a domain, without r.
func (s *state) there(i, d, r int32) int32 {
	w := &s.m.rows[i]
	n := int32(0)
	if w.base >= 0 {
		n = s.count[w.base+d]
		if r >= 0 && s.m.Group[r] == w.group && s.m.domainOf(w.level, s.place[r]) == d {
			n--
		}
		return n
	}
	domain := s.m.domain[int(w.level)*(s.m.Servers+1):]
	for _, other := range s.m.membersOf(w.group) {
		if domain[s.place[other]] == d && other != r {
			n++
		}
	}
	return n
}

// rowPermits checks the spread, and that nobody who relates to the group is left alone in the domain that the replica leaves, or meets
// it in the one where it comes.
func (s *state) rowPermits(i, r, from, to int32) bool {
	w := &s.m.rows[i]
	a, b := s.m.domainOf(w.level, from), s.m.domainOf(w.level, to)
	if a == b {
		return true
	}
	others := s.there(i, b, r)
	if to != s.m.nowhere {
		if w.most > 0 && others >= w.most {
			return false
		}
		if others == 0 && s.related(w.notFrom, w.notTo, b) > 0 {
			return false
		}
	}
	if from == s.m.nowhere || s.there(i, a, r) > 0 {
		return true
	}
	if s.distinct[i] <= w.least && (to == s.m.nowhere || others > 0) {
		return false
	}
	return s.related(w.askedFrom, w.askedTo, a) == 0
}

// related is how many replicas of the rows that relate to one are in a domain.
func (s *state) related(from, to, d int32) int64 {
	n := int64(0)
	for _, j := range s.m.asked[from:to] {
		n += int64(s.there(j, d, -1))
	}
	return n
}

// mended is by how much less would be broken if replica r went from one server to another, which is permitted and where it fits.
func (s *state) mended(r, from, to int32) int64 {
	m := s.m
	g := m.Group[r]
	n := s.goal[int(from)*m.tiers] - s.overflowWithout(r, from)
	if s.pairs > 0 && m.Exclusive[g] && from != m.nowhere {
		n += s.neighbours(r, from)
	}
	if s.astray > 0 && !m.eligible(r, from) {
		n++
	}
	if s.lacking == 0 {
		return n
	}
	for i := m.rowStart[g]; i < m.rowStart[g+1]; i++ {
		n += s.rowMended(i, r, from, to)
	}
	return n + s.unmet(g, from) - s.unmet(g, to)
}

func (s *state) rowMended(i, r, from, to int32) int64 {
	w := &s.m.rows[i]
	a, b := s.m.domainOf(w.level, from), s.m.domainOf(w.level, to)
	if a == b {
		return 0
	}
	n := int64(0)
	gone, others := int32(0), s.there(i, a, r)
	if from != s.m.nowhere {
		if others == 0 {
			gone = 1
			n += s.related(w.notFrom, w.notTo, a)
		}
		if w.most > 0 && others >= w.most {
			n++
		}
	}
	come := int32(0)
	if to != s.m.nowhere && s.there(i, b, r) == 0 {
		come = 1
		n += s.related(w.askedFrom, w.askedTo, b)
	}
	return n + int64(max(0, w.least-s.distinct[i])-max(0, w.least-s.distinct[i]-come+gone))
}

// unmet is how many relations of a group's replica are broken at a server.
func (s *state) unmet(g, server int32) int64 {
	if server == s.m.nowhere {
		return 0
	}
	n := int64(0)
	for _, need := range s.m.needsOf(g) {
		if s.there(need.row, s.m.domainOf(s.m.rows[need.row].level, server), -1) > 0 == need.not {
			n++
		}
	}
	return n
}

// widened is what the soft spreads of a tier cost more if replica r goes from one server to another.
func (s *state) widened(r, from, to int32, tier int) int64 {
	m, cost := s.m, int64(0)
	g := m.Group[r]
	for i := m.rowStart[g]; i < m.rowStart[g+1]; i++ {
		w := &m.rows[i]
		if w.want == 0 || int(w.tier) != tier {
			continue
		}
		a, b := m.domainOf(w.level, from), m.domainOf(w.level, to)
		if a == b {
			continue
		}
		after := s.distinct[i]
		if from != m.nowhere && s.there(i, a, r) == 0 {
			after--
		}
		if to != m.nowhere && s.there(i, b, r) == 0 {
			after++
		}
		cost += w.weight * int64(max(0, w.want-after)-max(0, w.want-s.distinct[i]))
	}
	return cost
}

// shiftGroup moves replica r in the counters of its group; s.place still has its old place.
func (s *state) shiftGroup(r, from, to int32, careful bool) {
	m := s.m
	g := m.Group[r]
	for tier := 1; tier < m.tiers; tier++ {
		if m.wants[tier] {
			s.cost[tier] += s.widened(r, from, to, tier)
		}
	}
	if careful {
		if m.Exclusive[g] {
			if from != m.nowhere {
				s.pairs -= s.neighbours(r, from)
			}
			if to != m.nowhere {
				s.pairs += s.neighbours(r, to)
			}
		}
		if !m.eligible(r, from) {
			s.astray--
		}
		if !m.eligible(r, to) {
			s.astray++
		}
		s.lacking -= s.unmet(g, from)
	}
	for i := m.rowStart[g]; i < m.rowStart[g+1]; i++ {
		w := &m.rows[i]
		if a, b := m.domainOf(w.level, from), m.domainOf(w.level, to); a != b {
			s.leave(i, a, r, careful)
			s.enter(i, b, r, careful)
			if w.base >= 0 {
				s.count[w.base+a]--
				s.count[w.base+b]++
			}
		}
	}
	if careful {
		s.lacking += s.unmet(g, to)
	}
}

// leave and enter adjust what is known of a row, and of those that relate to it, when replica r goes from or to a domain.
func (s *state) leave(i, d, r int32, careful bool) {
	w := &s.m.rows[i]
	if d == s.m.width[w.level]-1 {
		return
	}
	others := s.there(i, d, r)
	if careful && w.most > 0 && others >= w.most {
		s.lacking--
	}
	if others > 0 {
		return
	}
	s.distinct[i]--
	if s.distinct[i] < w.least {
		s.lacking++
	}
	if careful {
		s.lacking += s.related(w.askedFrom, w.askedTo, d) - s.related(w.notFrom, w.notTo, d)
	}
}

func (s *state) enter(i, d, r int32, careful bool) {
	w := &s.m.rows[i]
	if d == s.m.width[w.level]-1 {
		return
	}
	others := s.there(i, d, r)
	if careful && w.most > 0 && others >= w.most {
		s.lacking++
	}
	if others > 0 {
		return
	}
	s.distinct[i]++
	if s.distinct[i] <= w.least {
		s.lacking--
	}
	if careful {
		s.lacking += s.related(w.notFrom, w.notTo, d) - s.related(w.askedFrom, w.askedTo, d)
	}
}

// countRow counts a row from nothing, and what is broken of its spread.
func (s *state) countRow(i int32) {
	m := s.m
	w := &m.rows[i]
	members := m.membersOf(w.group)
	for k, r := range members {
		d := m.domainOf(w.level, s.place[r])
		before := int32(0) // members in the domain that were counted
		if w.base >= 0 {
			before = s.count[w.base+d]
			s.count[w.base+d]++
		} else {
			for _, other := range members[:k] {
				if m.domainOf(w.level, s.place[other]) == d {
					before++
				}
			}
		}
		if s.place[r] == m.nowhere {
			continue
		}
		if before == 0 {
			s.distinct[i]++
		}
		if w.most > 0 && before >= w.most {
			s.lacking++
		}
	}
	s.lacking += int64(max(0, w.least-s.distinct[i]))
	if w.want > 0 {
		s.cost[w.tier] += w.weight * int64(max(0, w.want-s.distinct[i]))
	}
}

// countBroken counts from nothing what is broken between replicas, but for spreads.
func (s *state) countBroken() {
	m := s.m
	for r, t := range s.place {
		r := int32(r)
		if t == m.nowhere {
			continue
		}
		if !m.eligible(r, t) {
			s.astray++
		}
		s.lacking += s.unmet(m.Group[r], t)
		if m.Exclusive[m.Group[r]] {
			for _, other := range m.membersOf(m.Group[r]) {
				if other < r && s.place[other] == t {
					s.pairs++
				}
			}
		}
	}
}
