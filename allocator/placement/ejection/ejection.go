// Package ejection finds places for replicas that lack nothing but room: it takes others out of their way, who take others out of theirs, a few in a row.
// The last one fits somewhere, or where the first one was: then they go round in a circle. It is called by allocator/placement/goals, for those few
// replicas that a search left where they should not be.
package ejection

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
)

// mostInARow is how many replicas are taken out of the way one after another.
const mostInARow = 2

// Search makes one attempt at a time. It gives up where its steps are used up.
type Search struct {
	*assignment.State
	Steps int64   // that are left: servers and replicas that are looked at
	tiers int     // that must cost less
	path  []int32 // who moves so far
	first int32   // where the first one was
}

// Settle brings a replica to another server where it costs less than before in so many tiers, in their order, and those that it needs out of the way
// to others. It answers which those are; false: there is no such place, and nothing has moved.
func (s *Search) Settle(r int32, tiers int) (ejected []int32, found bool) {
	if s.M.Pinned(r) {
		return nil, false
	}
	s.Unchecked = true // what is broken when it goes back counts again
	before, from := s.Costs, s.Place[r]
	s.tiers = tiers
	s.path, s.first = append(s.path[:0], r), from
	s.Apply(r, s.M.Nowhere)
	if s.put(r, from, mostInARow, &before) {
		return slices.Clone(s.path[1:]), true
	}
	s.Apply(r, from)
	return nil, false
}

// put finds a place, other than except, for a replica that is nowhere, with at most so many others taken out of its way.
func (s *Search) put(r, except int32, others int, before *assignment.Vector) bool {
	for t := range int32(s.M.Servers) {
		if t != except && t != s.first && s.ends(r, t, before) {
			return true
		}
	}
	if s.first != except && s.ends(r, s.first, before) { // a circle needs a spare place to be opened
		return true
	}
	for t := int32(0); t < int32(s.M.Servers) && others > 0; t++ {
		if t != except && s.M.Eligible(r, t) && s.Permits(r, s.M.Nowhere, t) && !s.Fits(r, t) && s.eject(r, t, others-1, before) {
			return true
		}
	}
	return false
}

// ends puts a replica on a server if it fits there, and that is better than before.
func (s *Search) ends(r, t int32, before *assignment.Vector) bool {
	if s.Steps--; s.Steps < 0 || t == s.M.Nowhere || !s.M.Eligible(r, t) || !s.Permits(r, s.M.Nowhere, t) || !s.Fits(r, t) {
		return false
	}
	s.Apply(r, t)
	if s.Costs.Less(before, s.tiers) {
		return true
	}
	s.Apply(r, s.M.Nowhere)
	return false
}

// eject takes one replica off a server so that another one fits there, and finds a place for it.
func (s *Search) eject(r, t int32, others int, before *assignment.Vector) bool {
	var there []int32
	for q, n := s.Head[t], s.Held[t]; n > 0; q, n = s.Next[q], n-1 {
		there = append(there, q)
	}
	for _, q := range there {
		if s.Steps--; s.Steps < 0 {
			return false
		}
		if s.M.Pinned(q) || s.M.Home[q] != t || s.M.Group[q] == s.M.Group[r] || !s.FitsFor(r, q, t) {
			continue
		}
		s.Apply(q, s.M.Nowhere)
		if s.Fits(r, t) && s.Permits(r, s.M.Nowhere, t) {
			s.Apply(r, t)
			s.path = append(s.path, q)
			if s.put(q, t, others, before) {
				return true
			}
			s.path = s.path[:len(s.path)-1]
			s.Apply(r, s.M.Nowhere)
		}
		s.Apply(q, t)
	}
	return false
}
