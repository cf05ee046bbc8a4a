package engine

import (
	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
)

const (
	mostTaken   = 12  // replicas that are taken out at once
	mostSeats   = 128 // servers of which all are tried for each of them; of more, half as many drawn at random are
	mostEmptied = 3   // servers that they are taken from, if servers are emptied
	blink       = 16  // one seat in so many is overlooked, so that the same replicas are not put back the same way
)

// rebuild proposes that a few replicas are taken out together and put back one by one, each where it costs least then: part of a large
// neighbourhood, in which no order of single moves leads from the one assignment to the other without a great loss. It is ruin and recreate
// (Schrimpf, Schneider, Stamm-Wilbrandt, Dueck, "Record Breaking Optimization Results Using the Ruin and Recreate Principle", 2000), with small
// ruins close together and seats overlooked at random (Christiaens, Vanden Berghe, "Slack Induction by String Removals", 2020).
//
// It answers how many proposals that was worth.
func (s *Search) rebuild() (steps int64) {
	before := s.Costs
	s.links = s.links[:0]
	s.Unchecked = true // what needs what was taken out is broken for a while
	if s.random.Next()&1 == 0 {
		s.emptyServers()
	} else {
		s.takeGroups()
	}
	s.largestFirst()
	steps, seated := 1, true
	for i := 0; i < len(s.links) && seated; i++ {
		best, tried := s.cheapest(s.links[i].r)
		steps += tried
		if seated = best.t >= 0; seated {
			s.move(s.links[i].r, best.t)
		}
	}
	if !seated || !s.tolerates(&before, s.tolerance()) {
		s.takeBack(len(s.links))
	}
	s.Unchecked = false
	s.note()
	return steps
}

// take takes out a replica, if it may go; its link says where it was.
func (s *Search) take(r int32) {
	if from := s.Place[r]; from != s.M.Nowhere && !s.M.Pinned(r) && len(s.links) < mostTaken {
		s.links = append(s.links, link{r, from})
		s.move(r, s.M.Nowhere)
	}
}

// emptyServers takes out what is on a few servers: from the first, which costs more than others, one whose leaving helps it most.
func (s *Search) emptyServers() {
	first := s.heavy()
	if first < 0 {
		return
	}
	t := s.Place[first]
	s.take(first)
	servers := 2 + s.random.Below(mostEmptied-1)
	each := 2 + s.random.Below(mostTaken/servers-1)
	for range servers {
		for range min(int32(each), s.Held[t]) {
			s.take(s.Turn(t))
		}
		t = int32(s.random.Below(s.M.Servers))
	}
}

// takeGroups takes out replicas that are bound to each other, or like each other: those of a few groups.
func (s *Search) takeGroups() {
	most := 2 + s.random.Below(mostTaken-1)
	for range most {
		members := s.M.MembersOf(s.M.Group[s.random.Below(s.M.Replicas)])
		at := s.random.Below(len(members))
		for k := range min(len(members), 1+s.random.Below(3)) {
			if len(s.links) < most {
				s.take(members[(at+k)%len(members)])
			}
		}
	}
}

// largestFirst orders what was taken out: more often than not the larger ones come first, as they fit in fewer places.
func (s *Search) largestFirst() {
	for i := 1; i < len(s.links); i++ {
		for k := i; k > 0 && s.Size(s.links[k].r) > s.Size(s.links[k-1].r) && s.random.Next()&7 != 0; k-- {
			s.links[k], s.links[k-1] = s.links[k-1], s.links[k]
		}
	}
}

// seat is a server where a replica that was taken out may be, and what it costs more, or breaks, in the tiers down to the active one that it is there.
type seat struct {
	t    int32 // -1: none
	more assignment.Vector
}

// cheapest is the best of the seats that are tried for a replica; it answers how many they were.
func (s *Search) cheapest(r int32) (best seat, tried int64) {
	best.t = -1
	if s.M.Servers <= mostSeats {
		for t := range s.M.Nowhere {
			s.trySeat(r, t, &best)
		}
		return best, int64(s.M.Servers)
	}
	s.trySeat(r, s.M.Home[r], &best)
	for _, l := range s.links {
		s.trySeat(r, l.to, &best)
	}
	for range mostSeats / 2 {
		s.trySeat(r, int32(s.random.Below(s.M.Servers)), &best)
	}
	return best, int64(1 + len(s.links) + mostSeats/2)
}

func (s *Search) trySeat(r, t int32, best *seat) {
	nowhere := s.M.Nowhere
	if t == nowhere || s.random.Next()&(blink-1) == 0 || !s.M.Eligible(r, t) || !s.Fits(r, t) {
		return
	}
	var more assignment.Vector
	same := best.t >= 0 // as cheap as the best, so far
	first := 1
	if s.Costs[0] > 0 {
		first = 0
	}
	for tier := first; tier <= s.active; tier++ {
		most := int64(layout.Much)
		if same {
			most = best.more[tier]
		}
		if tier == 0 {
			more[0] = -s.Mended(r, nowhere, t)
		} else {
			more[tier] = s.ShiftDelta(r, nowhere, t, tier, most)
		}
		if same && more[tier] > most {
			return
		}
		same = same && more[tier] == most
	}
	if !same && s.Admits(r, nowhere, t) {
		best.t, best.more = t, more
	}
}
