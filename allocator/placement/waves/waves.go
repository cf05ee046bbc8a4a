// Package waves orders the moves that lead from one assignment to another, so that every hard constraint holds at each prefix, in transit too.
//
// The moves of a wave may be under way side by side, and end in any order: a replica that moves is charged where it is and where it goes, in the
// metrics that are charged during a move; of a shard, and of shards that relate to each other, one replica moves in a wave. Within a wave the order
// is that of the steps: in the other metrics what begins to leave a server makes room there for those after it.
//
// Moves that wait for each other in a circle are opened by one of them that goes through a spare place, where there is one for it. What cannot move
// in any order is told, with what keeps it. It is called by allocator/placement/goals. It never looks for a better assignment.
package waves

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// mostDetours bounds the replicas for which a spare place is looked for at a time.
const mostDetours = 64

// Step is one move.
type Step struct {
	Replica int32
	From    int32 // problem.Unplaced: it is new
	To      int32
	Wave    int // from 1
	Detour  bool
}

// Blocked is a replica that cannot go where it is to be, whatever goes before.
type Blocked struct {
	Replica int32
	To      int32
	assignment.Verdict
}

// Order orders the moves from the start of a problem to places, [Replicas]. Who has no place in places stays where it is. Caps are how many moves are
// under way at once.
func Order(p *problem.Problem, places []int32) (steps []Step, blocked []Blocked, err error) {
	o := reduced(p, places)
	for len(o.pending) > 0 {
		if err := o.begin(); err != nil {
			return nil, nil, err
		}
		if !o.advance() && !o.detour() {
			for _, r := range o.pending {
				blocked = append(blocked, Blocked{Replica: o.name[r], To: o.target[r], Verdict: o.now.Judge(r, o.target[r])})
			}
			break
		}
	}
	return o.steps, blocked, nil
}

// order is an order under way: the problem with those groups only whose replicas move or that relate to such, in which Start is where replicas are
// before the wave.
type order struct {
	problem.Problem
	name     []int32 // of the replicas, in the problem that was given
	target   []int32
	pending  []int32 // replicas that are not yet where they are to be
	detoured []bool  // by replica
	related  [][]tie // by group
	now      *assignment.State
	frozen   []bool // groups of which no replica begins to move in this wave
	wave     int
	steps    []Step
}

// tie is to a group that relates to another, or to which that relates.
type tie struct {
	group int32
	not   bool // they must not meet
}

// reduced leaves out what has no part in any move: it only takes room.
func reduced(p *problem.Problem, places []int32) *order {
	o := &order{Problem: problem.Problem{Metrics: p.Metrics, Servers: p.Servers, Capacity: p.Capacity, During: p.During, Domains: p.Domains,
		Eligible: p.Eligible, Caps: p.Caps, Tiers: 1}}
	o.Caps.Group = 1
	concerned := make([]bool, p.Groups)
	for r, t := range places {
		concerned[p.Group[r]] = concerned[p.Group[r]] || t != p.Start[r] && t != problem.Unplaced
	}
	kept := slices.Clone(concerned)
	for _, d := range p.Relations {
		kept[d.Group], kept[d.On] = kept[d.Group] || concerned[d.On], kept[d.On] || concerned[d.Group]
	}
	group := make([]int, p.Groups)
	for g, keep := range kept {
		if group[g] = -1; keep {
			group[g] = o.Groups
			o.Groups++
			o.Exclusive = append(o.Exclusive, p.Exclusive[g])
		}
	}
	rest := make([]int64, len(p.Capacity))
	for r, t := range places {
		if group[p.Group[r]] >= 0 {
			o.take(p, int32(r), int32(group[p.Group[r]]), t)
		} else if at := p.Start[r]; at != problem.Unplaced {
			for m := range p.Metrics {
				rest[int(at)*p.Metrics+m] += p.Load[r*p.Metrics+m]
			}
		}
	}
	o.weigh(rest)
	for _, s := range p.Spreads {
		if s.Group = group[s.Group]; s.Group >= 0 && (s.Min > 0 || s.Max > 0) {
			s.Want, s.Goal = 0, problem.Goal{}
			o.Spreads = append(o.Spreads, s)
		}
	}
	o.related = make([][]tie, o.Groups)
	for _, d := range p.Relations {
		if d.Group, d.On = group[d.Group], group[d.On]; d.Group >= 0 && d.On >= 0 {
			o.Relations = append(o.Relations, d)
			o.related[d.Group] = append(o.related[d.Group], tie{int32(d.On), d.Not})
			o.related[d.On] = append(o.related[d.On], tie{int32(d.Group), d.Not})
		}
	}
	o.detoured = make([]bool, o.Replicas)
	return o
}

// weigh puts on each server what does not move, as one replica.
func (o *order) weigh(rest []int64) {
	o.Groups++
	o.Exclusive = append(o.Exclusive, false)
	for t := range o.Servers {
		o.Replicas++
		o.Group, o.Start, o.name, o.target = append(o.Group, int32(o.Groups-1)), append(o.Start, int32(t)), append(o.name, -1), append(o.target, int32(t))
		o.Load = append(o.Load, rest[t*o.Metrics:][:o.Metrics]...)
		if o.Class != nil {
			o.Class = append(o.Class, 0)
		}
	}
}

// take takes a replica with its target. New ones come before those that leave their places for them.
func (o *order) take(p *problem.Problem, r, group, target int32) {
	at, n := int32(o.Replicas), p.Metrics
	o.Replicas++
	o.Group, o.Start, o.name = append(o.Group, group), append(o.Start, p.Start[r]), append(o.name, r)
	o.Load = append(o.Load, p.Load[int(r)*n:][:n]...)
	if p.Class != nil {
		o.Class = append(o.Class, p.Class[r])
	}
	if target == problem.Unplaced {
		target = p.Start[r]
	}
	if o.target = append(o.target, target); target == p.Start[r] {
		return
	}
	if p.Start[r] != problem.Unplaced {
		o.pending = append(o.pending, at)
		return
	}
	news := 0
	for news < len(o.pending) && o.Start[o.pending[news]] == problem.Unplaced {
		news++
	}
	o.pending = slices.Insert(o.pending, news, at)
}

// begin begins a wave: all moves before it are over.
func (o *order) begin() error {
	m, err := layout.New(&o.Problem)
	if err != nil {
		return err
	}
	o.now, o.frozen = assignment.New(m), make([]bool, o.Groups)
	o.wave++
	return nil
}

// advance begins all moves that can be under way side by side; false: none.
func (o *order) advance() bool {
	all := len(o.pending)
	for before := -1; before != len(o.pending); { // what has begun to leave makes room for what was in vain before
		before = len(o.pending)
		o.pending = slices.DeleteFunc(o.pending, func(r int32) bool {
			ok := o.may(r, o.target[r])
			if ok {
				o.step(r, o.target[r], false)
			}
			return ok
		})
	}
	o.end()
	return len(o.pending) < all
}

// may reports whether a replica can begin to move now.
func (o *order) may(r, to int32) bool {
	return !o.frozen[o.Group[r]] && o.now.Judge(r, to).Refused == assignment.Allowed
}

func (o *order) step(r, to int32, detour bool) {
	o.steps = append(o.steps, Step{Replica: o.name[r], From: o.Start[r], To: to, Wave: o.wave, Detour: detour})
	o.now.Apply(r, to)
	o.frozen[o.Group[r]] = true
	for _, tie := range o.related[o.Group[r]] {
		if !tie.not || o.Start[r] != problem.Unplaced { // one that is new leaves no place where others may meet it meanwhile
			o.frozen[tie.group] = true
		}
	}
}

// end ends a wave: what moved is where it went.
func (o *order) end() {
	for r, t := range o.now.Place {
		if t != o.now.M.Nowhere {
			o.Start[r] = t
		}
	}
}
