package engine

import "github.com/shardmanager/shardmanager/allocator/placement/problem"

// overflowCost is what one metric over capacity costs in tier 0: 1, and the excess in thousandths of the capacity, so that each
// step towards room is worth something.
func overflowCost(excess, capacity int64) int64 {
	return 1 + min(excess/(capacity/1000+1), 1<<30)
}

// charged is the load that server t is charged with, in capacity, if replica r comes: where r started, what is charged during a move is
// charged already.
func (s *state) charged(r, t int32) []int64 {
	n := s.m.Metrics
	if s.m.Home[r] == t {
		if s.m.Soft == nil {
			return s.m.Zero
		}
		return s.m.Soft[int(r)*n:][:n:n]
	}
	return s.m.Load[int(r)*n:][:n:n]
}

func (s *state) load(r int32) []int64 {
	n := s.m.Metrics
	return s.m.Load[int(r)*n:][:n:n]
}

// fits reports whether replica r may come to server t: no metric goes over capacity, or further over.
func (s *state) fits(r, t int32) bool {
	if t == s.m.Nowhere {
		return true
	}
	n := s.m.Metrics
	slack := s.slack[int(t)*n:][:n:n]
	for i, l := range s.charged(r, t)[:len(slack)] {
		if l > slack[i] && l > 0 {
			return false
		}
	}
	return s.m.Home[r] != t || s.fitsAtHome(r, -1, t)
}

// fitsFor reports whether replica r may come to server t, which replica out leaves.
func (s *state) fitsFor(r, out, t int32) bool {
	n := s.m.Metrics
	slack := s.slack[int(t)*n:][:n:n]
	leaving := s.charged(out, t)[:len(slack)]
	for i, l := range s.charged(r, t)[:len(slack)] {
		if more := l - leaving[i]; more > slack[i] && more > 0 {
			return false
		}
	}
	return s.m.Home[r] != t || s.fitsAtHome(r, out, t)
}

// fitsAtHome reports whether replica r fits where it started, which replica out leaves or, if it is -1, nobody. It is charged there all the
// time, but a server may be charged with more than it has room for while something leaves it.
func (s *state) fitsAtHome(r, out, t int32) bool {
	n := s.m.Metrics
	use, capacity := s.use[int(t)*n:][:n:n], s.m.Capacity[int(t)*n:][:n:n]
	less := s.m.Zero
	if out >= 0 {
		less = s.load(out)
	}
	for i, l := range s.load(r) {
		if more := l - less[i]; more > 0 && use[i]+more > capacity[i] {
			return false
		}
	}
	return true
}

// overflow is what server t costs in tier 0: what is over capacity once all moves are done. During them nothing comes where it does not fit
// beside what is still leaving, so that is broken by nobody.
func (s *state) overflow(t int32) int64 {
	if t == s.m.Nowhere {
		return 0
	}
	n, cost := s.m.Metrics, int64(0)
	for i, u := range s.use[int(t)*n:][:n:n] {
		if c := s.m.Capacity[int(t)*n+i]; u > c {
			cost += overflowCost(u-c, c)
		}
	}
	return cost
}

// overflowWithout is what server t would cost in tier 0 if replica r left it.
func (s *state) overflowWithout(r, t int32) int64 {
	if t == s.m.Nowhere {
		return 0
	}
	n, cost := s.m.Metrics, int64(0)
	load := s.load(r)
	for i, u := range s.use[int(t)*n:][:n:n] {
		if c := s.m.Capacity[int(t)*n+i]; u-load[i] > c {
			cost += overflowCost(u-load[i]-c, c)
		}
	}
	return cost
}

// goals is what server t would cost by itself in a goals' tier (from 1) with the given use of its metrics and number of replicas.
func (s *state) goals(t int32, tier int, use []int64, held int32) int64 {
	m := s.m
	if t == m.Nowhere {
		return 0
	}
	cost := int64(0)
	n := len(m.Thresholds.List)
	limit := m.Limit[int(t)*n:][:n:n]
	for i := m.Thresholds.End[tier-1]; i < m.Thresholds.End[tier]; i++ {
		g := &m.Thresholds.List[i]
		if over := use[g.Metric] - limit[i]; over > 0 {
			cost += g.Weight * over
		}
	}
	if m.Ratios.End[tier-1] < m.Ratios.End[tier] {
		capacity := m.Capacity[int(t)*m.Metrics:][:m.Metrics]
		for _, g := range m.Ratios.Of(tier) {
			cost += g.Weight * max(0, g.Target*(capacity[g.A]-use[g.A])-(capacity[g.B]-use[g.B]))
		}
	}
	if m.Balances.End[tier-1] < m.Balances.End[tier] {
		cost += s.unevenness(t, tier, use)
	}
	if held > 0 && m.Opening.Cost != nil && tier == m.Opening.Tier+1 {
		cost += m.Opening.Weight * m.Opening.Cost[t]
	}
	return cost
}

func (s *state) unevenness(t int32, tier int, use []int64) int64 {
	m, cost := s.m, int64(0)
	n := len(m.Balances.List)
	share := m.Share[int(t)*n:][:n:n]
	for i := m.Balances.End[tier-1]; i < m.Balances.End[tier]; i++ {
		g := &m.Balances.List[i]
		f := &share[i]
		off := use[g.Metric] - f.Share
		if off < 0 {
			if g.Above {
				continue
			}
			off = -off
		}
		if off -= f.Slack; off > 0 {
			u := min(off/f.Unit, problem.MaxUnits)
			cost += g.Weight * max(0, u*u-f.Free)
		}
	}
	return cost
}

// affinity is what replica r costs in a goals' tier by its place.
func (s *state) affinity(r, t int32, tier int) int64 {
	m, cost := s.m, int64(0)
	if t == m.Nowhere {
		return 0
	}
	for i := m.Affinities.End[tier-1]; i < m.Affinities.End[tier]; i++ {
		g := &m.Affinities.List[i]
		c := g.Cost[g.Of[r]*g.Width+m.DomainOf(g.Level, t)]
		if g.Scale >= 0 {
			c *= m.Load[int(r)*m.Metrics+int(g.Scale)]
		}
		cost += c
	}
	return cost
}

// useWith is the use of server t after replica in came and replica out left, either of which may be -1.
func (s *state) useWith(t, in, out int32, use []int64) {
	n := s.m.Metrics
	now := s.use[int(t)*n:][:n:n]
	use = use[:n:n]
	switch {
	case out < 0:
		load := s.load(in)[:len(use)]
		for i, v := range now {
			use[i] = v + load[i]
		}
	case in < 0:
		load := s.load(out)[:len(use)]
		for i, v := range now {
			use[i] = v - load[i]
		}
	default:
		load, less := s.load(in)[:len(use)], s.load(out)[:len(use)]
		for i, v := range now {
			use[i] = v + load[i] - less[i]
		}
	}
}
