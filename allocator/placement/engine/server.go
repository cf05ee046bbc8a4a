package engine

import "github.com/shardmanager/shardmanager/allocator/placement/layout"

// fits reports whether replica r may come to server t: no metric goes over capacity, or further over.
func (s *state) fits(r, t int32) bool {
	if t == s.m.Nowhere {
		return true
	}
	if !s.glance(r, t) {
		return false
	}
	n := s.m.Metrics
	slack := s.slack[int(t)*n:][:n:n]
	for i, l := range s.m.Charged(r, t)[:len(slack)] {
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
	leaving := s.m.Charged(out, t)[:len(slack)]
	for i, l := range s.m.Charged(r, t)[:len(slack)] {
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
		less = s.m.LoadOf(out)
	}
	for i, l := range s.m.LoadOf(r) {
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
			cost += layout.OverflowCost(u-c, c)
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
	load := s.m.LoadOf(r)
	for i, u := range s.use[int(t)*n:][:n:n] {
		if c := s.m.Capacity[int(t)*n+i]; u-load[i] > c {
			cost += layout.OverflowCost(u-load[i]-c, c)
		}
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
		load := s.m.LoadOf(in)[:len(use)]
		for i, v := range now {
			use[i] = v + load[i]
		}
	case in < 0:
		load := s.m.LoadOf(out)[:len(use)]
		for i, v := range now {
			use[i] = v - load[i]
		}
	default:
		load, less := s.m.LoadOf(in)[:len(use)], s.m.LoadOf(out)[:len(use)]
		for i, v := range now {
			use[i] = v + load[i] - less[i]
		}
	}
}
