package main

import "github.com/shardmanager/shardmanager/allocator/placement/problem"

// replay carries out a plan move by move, in an order that it looks for: of the moves that are left, each one that is allowed now. What moved stays
// charged where it started until the plan is over, as if no source ever let go in time. It answers how many moves cannot be made so.
func replay(p *problem.Problem, start, places []int32) (broken int) {
	y := newYard(p, start)
	var rest []int
	for r, t := range places {
		if t != start[r] {
			rest = append(rest, r)
		}
	}
	for {
		var stuck []int
		for _, r := range rest {
			if to := places[r]; y.allows(r, to) {
				y.move(r, to)
			} else {
				stuck = append(stuck, r)
			}
		}
		if len(stuck) == len(rest) {
			return len(stuck)
		}
		rest = stuck
	}
}

// yard is where replicas are while a plan is carried out.
type yard struct {
	p       *problem.Problem
	place   []int32
	members [][]int32 // of groups
	spreads [][]problem.Spread
	charged []int64 // [Servers × Metrics]: what is there, and what was
	touched []int32 // [Servers]: moves from and to
}

func newYard(p *problem.Problem, start []int32) *yard {
	y := &yard{p: p, place: append([]int32(nil), start...), members: make([][]int32, p.Groups), spreads: make([][]problem.Spread, p.Groups),
		charged: make([]int64, p.Servers*p.Metrics), touched: make([]int32, p.Servers)}
	for r, t := range start {
		g := p.Group[r]
		y.members[g] = append(y.members[g], int32(r))
		if t >= 0 {
			y.charge(r, t, 1)
		}
	}
	for _, s := range p.Spreads {
		y.spreads[s.Group] = append(y.spreads[s.Group], s)
	}
	return y
}

func (y *yard) charge(r int, t int32, sign int64) {
	n := y.p.Metrics
	for m := range n {
		y.charged[int(t)*n+m] += sign * y.p.Load[r*n+m]
	}
}

// allows reports whether a replica may go to a server now: there is room beside all that is and was there, no other of its group is there, its
// group keeps to its domains, and neither server has as many moves as it may have.
func (y *yard) allows(r int, to int32) bool {
	p, from := y.p, y.place[r]
	if to < 0 {
		return false // nothing may lose its place
	}
	if c := p.Caps.Server; c != nil && from >= 0 && (y.touched[from] >= c[from] || y.touched[to] >= c[to]) {
		return false
	}
	for m := range p.Metrics {
		i := int(to)*p.Metrics + m
		if l := p.Load[r*p.Metrics+m]; l > 0 && y.charged[i]+l > p.Capacity[i] {
			return false
		}
	}
	if p.Exclusive[p.Group[r]] {
		for _, other := range y.members[p.Group[r]] {
			if int(other) != r && y.place[other] == to {
				return false
			}
		}
	}
	for _, s := range y.spreads[p.Group[r]] {
		if !y.keeps(s, r, to) {
			return false
		}
	}
	return true
}

// keeps reports whether a group has no more replicas in a domain than it may have, and is in as many as it must be, or was.
func (y *yard) keeps(s problem.Spread, r int, to int32) bool {
	domains := y.p.Domains[s.Level]
	var before, after []int32
	there := 0
	for _, other := range y.members[s.Group] {
		t := y.place[other]
		if t >= 0 {
			before = append(before, t)
		}
		if int(other) == r {
			t = to
		} else if t >= 0 && domains[t] == domains[to] {
			there++
		}
		if t >= 0 {
			after = append(after, t)
		}
	}
	of := func(t int32) int32 { return domains[t] }
	least := min(s.Min, distinct(before, of))
	return (s.Max == 0 || there < s.Max) && distinct(after, of) >= least
}

// move makes a move. What is charged during moves stays so at the source.
func (y *yard) move(r int, to int32) {
	if from := y.place[r]; from >= 0 {
		y.touched[from]++
		y.touched[to]++
		for m, during := range y.p.During {
			if !during {
				y.charged[int(from)*y.p.Metrics+m] -= y.p.Load[r*y.p.Metrics+m]
			}
		}
	}
	y.charge(r, to, 1)
	y.place[r] = to
}
