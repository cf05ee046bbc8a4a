package assignment

import (
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/pairs"
)

// failovers reports whether a tier has goals of fail-over.
func (s *State) failovers(tier int) bool {
	return tier > 0 && s.M.Failovers.End[tier-1] < s.M.Failovers.End[tier]
}

// newPairs counts from nothing who takes over from whom: as if all replicas came one by one to where they start.
func (s *State) newPairs() {
	m := s.M
	for i := range m.Failovers.List {
		s.pairsOf = append(s.pairsOf, pairs.New(m.Failovers.List[i].Pairs))
	}
	if s.pairsOf == nil {
		return
	}
	for g := range int32(m.Groups) {
		members := m.MembersOf(g)
		for k, r := range members {
			for tier := 1; tier < m.Tiers; tier++ {
				for i := m.Failovers.End[tier-1]; i < m.Failovers.End[tier]; i++ {
					s.Costs[tier] += s.pairUp(i, r, members[:k], m.Nowhere, m.Home[r])
				}
			}
		}
	}
}

// pairUp counts for a goal that replica r goes from one server to another, beside others of its group, and answers what that costs more.
func (s *State) pairUp(i, r int32, others []int32, from, to int32) int64 {
	f := &s.M.Failovers.List[i]
	domain := s.M.Domain[int(f.Level)*(s.M.Servers+1):]
	a, b, none := domain[from], domain[to], domain[s.M.Nowhere]
	if a == b {
		return 0
	}
	cost := int64(0)
	for _, q := range others {
		d := domain[s.Place[q]]
		if q == r || d == none {
			continue
		}
		if a != none && a != d { // first, so that there are never more pairs than there is room for
			cost += s.pair(i, f, r, q, a, d, -1)
		}
		if b != none && b != d {
			cost += s.pair(i, f, r, q, b, d, 1)
		}
	}
	return cost
}

// pair counts one pair more or less of replicas r and q, in domains a and d: in each direction in which one of them leads.
func (s *State) pair(i int32, f *layout.Failover, r, q, a, d, by int32) (cost int64) {
	if f.Lead[r] {
		was := s.pairsOf[i].Add(a, d, by)
		cost = f.TooMany(a, was+by) - f.TooMany(a, was)
	}
	if f.Lead[q] {
		was := s.pairsOf[i].Add(d, a, by)
		cost += f.TooMany(d, was+by) - f.TooMany(d, was)
	}
	return cost
}

// shiftPairs adjusts all counts for a move of replica r.
func (s *State) shiftPairs(r, from, to int32) {
	others := s.M.MembersOf(s.M.Group[r])
	for tier := 1; tier < s.M.Tiers; tier++ {
		for i := s.M.Failovers.End[tier-1]; i < s.M.Failovers.End[tier]; i++ {
			s.Costs[tier] += s.pairUp(i, r, others, from, to)
		}
	}
}

// pairing is what the goals of fail-over of a tier cost more if replica r goes from one server to another, and q, of another group, back; -1: none does.
// Pairs of both may be of the same domains, so it counts them and takes that back.
func (s *State) pairing(r, q, from, to int32, tier int) (cost int64) {
	others, beside := s.M.MembersOf(s.M.Group[r]), []int32(nil)
	if q >= 0 {
		beside = s.M.MembersOf(s.M.Group[q])
	}
	for i := s.M.Failovers.End[tier-1]; i < s.M.Failovers.End[tier]; i++ {
		cost += s.pairUp(i, r, others, from, to)
		if q >= 0 {
			cost += s.pairUp(i, q, beside, to, from)
			s.pairUp(i, q, beside, from, to)
		}
		s.pairUp(i, r, others, to, from)
	}
	return cost
}

// crowding reports whether a replica is one of too many for which one domain takes over from another, in a tier.
func (s *State) crowding(r int32, tier int) bool {
	others := s.M.MembersOf(s.M.Group[r])
	for i := s.M.Failovers.End[tier-1]; i < s.M.Failovers.End[tier]; i++ {
		f := &s.M.Failovers.List[i]
		domain := s.M.Domain[int(f.Level)*(s.M.Servers+1):]
		a := domain[s.Place[r]]
		for _, q := range others {
			d := domain[s.Place[q]]
			if d == a || s.Place[q] == s.M.Nowhere {
				continue
			}
			if f.Lead[r] && f.TooMany(a, s.pairsOf[i].Of(a, d)) > 0 || f.Lead[q] && f.TooMany(d, s.pairsOf[i].Of(d, a)) > 0 {
				return true
			}
		}
	}
	return false
}
