package waves

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// detour opens circles: a replica goes through a spare place, if another one can then go where it was. None goes twice, and where one makes room nobody
// else is brought out of the way. It reports whether any does.
func (o *order) detour() bool {
	freed, tries := map[int32]bool{}, 0
	for _, r := range o.pending {
		if o.detoured[r] || o.Start[r] == problem.Unplaced || freed[o.target[r]] {
			continue
		}
		if tries++; tries > mostDetours {
			break
		}
		spare := o.spare(r)
		if spare < 0 || !o.helps(r, spare) {
			continue
		}
		freed[o.Start[r]], o.detoured[r] = true, true
		o.step(r, spare, true)
	}
	o.end()
	return len(freed) > 0
}

// spare is a server that a replica can go to meanwhile, if possible one that nobody waits for; -1: there is none.
func (o *order) spare(r int32) int32 {
	second := int32(-1)
	for t := range int32(o.Servers) {
		if t == o.Start[r] || t == o.target[r] || !o.may(r, t) {
			continue
		}
		if !slices.ContainsFunc(o.pending, func(q int32) bool { return o.target[q] == t }) {
			return t
		}
		if second < 0 {
			second = t
		}
	}
	return second
}

// helps reports whether another replica, that is not on its own way round, can go where this one is once it is somewhere else.
func (o *order) helps(r, spare int32) bool {
	home := o.Start[r]
	var then *assignment.State
	for _, q := range o.pending {
		if q == r || o.target[q] != home || o.now.Place[q] != o.Start[q] && o.Start[q] != problem.Unplaced {
			continue
		}
		if then == nil {
			later := o.Problem
			later.Start = slices.Clone(o.Start)
			later.Start[r] = spare
			m, err := layout.New(&later)
			if err != nil {
				return false
			}
			then = assignment.New(m)
		}
		if then.Judge(q, home).Refused == assignment.Allowed {
			return true
		}
	}
	return false
}
