package assignment

import "github.com/shardmanager/shardmanager/allocator/placement/layout"

// Fits reports whether replica r may come to server t: no metric goes over capacity, or further over.
func (s *State) Fits(r, t int32) bool {
	if t == s.M.Nowhere {
		return true
	}
	if !s.glance(r, t) {
		return false
	}
	n := s.M.Metrics
	slack := s.Slack[int(t)*n:][:n:n]
	for i, l := range s.M.Charged(r, t)[:len(slack)] {
		if l > slack[i] && l > 0 {
			return false
		}
	}
	return s.M.Home[r] != t || s.fitsAtHome(r, -1, t)
}

// FitsFor reports whether replica r may come to server t, which replica out leaves.
func (s *State) FitsFor(r, out, t int32) bool {
	n := s.M.Metrics
	slack := s.Slack[int(t)*n:][:n:n]
	leaving := s.M.Charged(out, t)[:len(slack)]
	for i, l := range s.M.Charged(r, t)[:len(slack)] {
		if more := l - leaving[i]; more > slack[i] && more > 0 {
			return false
		}
	}
	return s.M.Home[r] != t || s.fitsAtHome(r, out, t)
}

// fitsAtHome reports whether replica r fits where it started, which replica out leaves or, if it is -1, nobody. It is charged there all the
// time, but a server may be charged with more than it has room for while something leaves it.
func (s *State) fitsAtHome(r, out, t int32) bool {
	n := s.M.Metrics
	use, capacity := s.Use[int(t)*n:][:n:n], s.M.Capacity[int(t)*n:][:n:n]
	less := s.M.Zero
	if out >= 0 {
		less = s.M.LoadOf(out)
	}
	for i, l := range s.M.LoadOf(r) {
		if more := l - less[i]; more > 0 && use[i]+more > capacity[i] {
			return false
		}
	}
	return true
}

// overflow is what server t costs in tier 0: what is over capacity once all moves are done. During them nothing comes where it does not fit
// beside what is still leaving, so that is broken by nobody.
func (s *State) overflow(t int32) int64 {
	if t == s.M.Nowhere {
		return 0
	}
	n, cost := s.M.Metrics, int64(0)
	for i, u := range s.Use[int(t)*n:][:n:n] {
		if c := s.M.Capacity[int(t)*n+i]; u > c {
			cost += layout.OverflowCost(u-c, c)
		}
	}
	return cost
}

// OverflowWithout is what server t would cost in tier 0 if replica r left it.
func (s *State) OverflowWithout(r, t int32) int64 {
	if t == s.M.Nowhere {
		return 0
	}
	n, cost := s.M.Metrics, int64(0)
	load := s.M.LoadOf(r)
	for i, u := range s.Use[int(t)*n:][:n:n] {
		if c := s.M.Capacity[int(t)*n+i]; u-load[i] > c {
			cost += layout.OverflowCost(u-load[i]-c, c)
		}
	}
	return cost
}
