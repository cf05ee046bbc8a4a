package assignment

import "github.com/shardmanager/shardmanager/allocator/placement/lanes"

// packed is a replica's load in lanes, as server t is charged with it.
func (s *State) packed(r, t int32) []uint64 {
	n := s.M.Packs.Words
	i := 2 * n * int(r)
	if s.M.Home[r] == t {
		i += n
	}
	return s.M.Packs.Loads[i:][:n:n]
}

// Size is roughly how large replica r is, in what is scarcest: enough to tell what is hard to place.
func (s *State) Size(r int32) uint64 { return lanes.Sum(s.M.Packs.Loads[2*s.M.Packs.Words*int(r)]) }

// glance reports whether replica r may fit on server t; if not, it does not.
func (s *State) glance(r, t int32) bool {
	n := s.M.Packs.Words
	load := s.packed(r, t)
	for i, free := range s.room[int(t)*n:][:n:n] {
		if !lanes.Fits(free, load[i]) {
			return false
		}
	}
	return true
}

// MostPartners is how many replicas of a server are looked at.
const MostPartners = 24

// Partner is a replica of server b, from q on, that may make room there for r, and may fit on server c, which r has left if it is a; -1: none was found.
func (s *State) Partner(r, q, a, b, c int32) int32 {
	n := s.M.Packs.Words
	short, free := s.short[:n:n], s.free[:n:n]
	copy(free, s.room[int(c)*n:][:n])
	if c == a {
		for i, l := range s.packed(r, a) {
			free[i] += l + lanes.Ones
		}
	}
	coming := s.packed(r, b)
	for i, there := range s.room[int(b)*n:][:n:n] {
		short[i] = lanes.Short(coming[i], there+lanes.Ones)
	}
	need := short[0]
	for range min(MostPartners, s.Held[b]) {
		if lanes.Fits(s.lead[q], need) && s.may(s.packed(q, b), s.packed(q, c)) {
			return q
		}
		q = s.Next[q]
	}
	return -1
}

// may reports whether what leaves a server makes up for what is short there, and what comes to another fits into what is free there.
func (s *State) may(leaving, coming []uint64) bool {
	for i, need := range s.short {
		if !lanes.Fits(leaving[i], need) || !lanes.Fits(s.free[i], coming[i]) {
			return false
		}
	}
	return true
}
