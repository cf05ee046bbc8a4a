package engine

import "github.com/shardmanager/shardmanager/allocator/placement/layout"

const (
	mostDisplaced = 12 // replicas that make room for one
	mostLooks     = 16 // replicas that are looked at to find one of them
	mostRefuges   = 64 // servers that are tried for it, beside the one that the large replica leaves
	mostRivals    = 3  // servers of which the worst is relieved, and one more than its replicas of which the best leaves
)

// displace proposes that a replica goes to a server where others make room for it, as many as it takes: to the server that it leaves or, where they do
// not fit there, elsewhere. Where servers are nearly full nothing else moves what is large.
func (s *Search) displace() {
	r := s.heavy()
	if r < 0 {
		return
	}
	a, b := s.Place[r], int32(s.random.Below(s.M.Servers))
	if home := s.M.Home[r]; home != s.M.Nowhere && s.random.Next()&3 == 0 {
		b = home
	}
	if a == b || a == s.M.Nowhere || !s.M.Eligible(r, b) || !s.couldHold(r, b) || !s.Permits(r, a, b) {
		return
	}
	before := s.Costs
	s.links = append(s.links[:0], link{r, a})
	s.move(r, b)
	for i := s.shortest(b); i >= 0; i = s.shortest(b) {
		if len(s.links) > mostDisplaced || !s.displaceOne(r, a, b, i) {
			s.takeBack(len(s.links))
			return
		}
	}
	if !s.tolerates(&before, s.tolerance()) {
		s.takeBack(len(s.links))
		return
	}
	s.note()
}

// heavy is a replica whose leaving would help a server that costs much: the better of a few, on the worse of a few servers, all drawn at random.
func (s *Search) heavy() int32 {
	t, tier := int32(s.random.Below(s.M.Servers)), s.active
	for range mostRivals - 1 {
		if u := int32(s.random.Below(s.M.Servers)); s.Heat(u, tier) > s.Heat(t, tier) {
			t = u
		}
	}
	if s.Held[t] == 0 {
		return -1
	}
	for range s.random.Below(int(min(s.Held[t], mostLooks))) {
		s.Turn(t)
	}
	best, least := int32(-1), int64(0)
	for range mostRivals - 1 {
		if r := s.Turn(t); !s.M.Pinned(r) {
			if c := s.HeatWithout(t, r, tier, layout.Much); best < 0 || c < least {
				best, least = r, c
			}
		}
	}
	return best
}

// couldHold reports whether server b could hold replica r if all that is there left.
func (s *Search) couldHold(r, b int32) bool {
	n := s.M.Metrics
	use, slack := s.Use[int(b)*n:][:n:n], s.Slack[int(b)*n:][:n:n]
	for i, l := range s.M.Charged(r, b) {
		if l > use[i]+slack[i] {
			return false
		}
	}
	return true
}

// shortest is the metric of which most is missing on server t, in shares of its capacity; -1: none is.
func (s *Search) shortest(t int32) int {
	n := s.M.Metrics
	use, slack, capacity := s.Use[int(t)*n:][:n:n], s.Slack[int(t)*n:][:n:n], s.M.Capacity[int(t)*n:][:n:n]
	at, most := -1, 0.0
	for i, free := range slack {
		if missing := max(-free, use[i]-capacity[i]); missing > 0 {
			if share := float64(missing) / float64(capacity[i]+1); share > most {
				at, most = i, share
			}
		}
	}
	return at
}

// displaceOne moves one replica from server b, of which metric i is short, for r, which came from server a.
func (s *Search) displaceOne(r, a, b int32, i int) bool {
	n := s.M.Metrics
	at := int(b)*n + i
	missing := max(-s.Slack[at], s.Use[at]-s.M.Capacity[at])
	best, frees := int32(-1), int64(0)
	for range min(mostLooks, s.Held[b]) {
		q := s.Turn(b)
		if q == r || s.M.Pinned(q) {
			continue
		}
		l := s.M.Charged(q, b)[i]
		if l > 0 && (best < 0 || frees < missing && l > frees || l >= missing && l < frees) {
			best, frees = q, l
		}
	}
	if best < 0 {
		return false
	}
	to, next := a, int32(s.random.Below(s.M.Servers))
	for range min(mostRefuges, s.M.Servers) + 1 {
		if to != b && s.M.Eligible(best, to) && s.Fits(best, to) && s.Permits(best, b, to) {
			s.links = append(s.links, link{best, b})
			s.move(best, to)
			return true
		}
		to = next
		if next++; next == s.M.Nowhere {
			next = 0
		}
	}
	return false
}
