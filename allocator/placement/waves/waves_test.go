package waves_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/waves"
)

// transit is where replicas are while moves are under way: each where it was, or where it goes, or both. Nothing of the package is used.
type transit struct {
	*problem.Problem
	on, to []int32 // to: -1: it does not move
}

// at are the places of a replica.
func (w *transit) at(r int) (list []int32) {
	for _, t := range []int32{w.on[r], w.to[r]} {
		if t >= 0 {
			list = append(list, t)
		}
	}
	return list
}

// broken is what does not hold now: amounts over capacity, and by name what holds between replicas.
func (w *transit) broken() map[string]int64 {
	list := map[string]int64{}
	use := make([]int64, w.Servers*w.Metrics)
	for r := range w.Replicas {
		for m := range w.Metrics {
			if w.on[r] >= 0 && (w.During[m] || w.to[r] < 0) {
				use[int(w.on[r])*w.Metrics+m] += w.Load[r*w.Metrics+m]
			}
			if w.to[r] >= 0 {
				use[int(w.to[r])*w.Metrics+m] += w.Load[r*w.Metrics+m]
			}
		}
	}
	for i, u := range use {
		if u > w.Capacity[i] {
			list[fmt.Sprintf("capacity %d", i)] = u - w.Capacity[i]
		}
	}
	// in is how many replicas of a group are in a domain: those that are there, or that may be.
	in := func(group, level int, domain int32, at func(r int) []int32) (n int) {
		for r := range w.Replicas {
			if int(w.Group[r]) == group && slices.ContainsFunc(at(r), func(t int32) bool { return w.Domains[level][t] == domain }) {
				n++
			}
		}
		return n
	}
	there := func(r int) []int32 { return w.at(r)[:min(1, w.on[r]+1)] }
	for r := range w.Replicas {
		for _, t := range w.at(r) {
			if w.Eligible[w.Class[r]] != nil && w.Eligible[w.Class[r]][0]>>uint(t)&1 == 0 {
				list[fmt.Sprintf("eligible %d", r)] = 1
			}
			for q := range r {
				if w.Group[q] == w.Group[r] && w.Exclusive[w.Group[r]] && slices.Contains(w.at(q), t) {
					list[fmt.Sprintf("together %d %d", q, r)] = 1
				}
			}
			for _, d := range w.Relations {
				on := there
				if d.Not {
					on = w.at
				}
				if d.Group == int(w.Group[r]) && in(d.On, d.Level, w.Domains[d.Level][t], on) == 0 == !d.Not {
					list[fmt.Sprintf("relation %v", d)]++
				}
			}
		}
	}
	for _, s := range w.Spreads {
		domains := 0
		for d := range int32(w.Servers) {
			if in(s.Group, s.Level, d, there) > 0 {
				domains++
			}
			n := in(s.Group, s.Level, d, w.at)
			if s.Max > 0 && n > s.Max {
				list[fmt.Sprintf("most %d", s.Group)] += int64(n - s.Max)
			}
		}
		if domains < s.Min {
			list[fmt.Sprintf("least %d", s.Group)] = int64(s.Min - domains)
		}
	}
	return list
}

// play carries out steps: those of a wave begin one after the other and end in any order. Nothing may break that was not broken at the start.
func play(t *rapid.T, p *problem.Problem, steps []waves.Step) []int32 {
	w := &transit{p, slices.Clone(p.Start), slices.Repeat([]int32{-1}, p.Replicas)}
	check := func(what string) {
		for name, by := range w.broken() {
			t.Fatalf("%s: %s by %d; on %v, to %v; steps %+v", what, name, by, w.on, w.to, steps)
		}
	}
	check("at the start")
	for wave := 1; len(steps) > 0; wave++ {
		n, moved := 0, 0
		for n < len(steps) && steps[n].Wave == wave {
			s := steps[n]
			if w.on[s.Replica] != s.From || w.to[s.Replica] >= 0 {
				t.Fatalf("step %+v: the replica is on %d, and goes to %d", s, w.on[s.Replica], w.to[s.Replica])
			}
			w.to[s.Replica] = s.To
			if n++; s.From >= 0 {
				moved++ // caps are for what is there
			}
			check(fmt.Sprintf("step %d of wave %d", n, wave))
		}
		if n == 0 {
			t.Fatalf("nothing moves in wave %d: %+v", wave, steps)
		}
		if p.Caps.Total > 0 && moved > int(p.Caps.Total) {
			t.Fatalf("%d moves in wave %d, at most %d", moved, wave, p.Caps.Total)
		}
		for _, i := range permutation(t, n) {
			s := steps[i]
			w.on[s.Replica], w.to[s.Replica] = s.To, -1
			check(fmt.Sprintf("end of step %d of wave %d", i+1, wave))
		}
		steps = steps[n:]
	}
	return w.on
}

func permutation(t *rapid.T, n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return rapid.Permutation(list).Draw(t, "ends")
}

// draw is a small problem, and two assignments that break nothing: its start and another one.
func draw(t *rapid.T, groups func(p *problem.Problem)) (*problem.Problem, []int32) {
	n := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(t, name) }
	p := &problem.Problem{Metrics: n("metrics", 1, 2), Servers: n("servers", 2, 5), Replicas: n("replicas", 1, 9), Tiers: 1, Eligible: [][]uint64{nil, {rapid.Uint64().Draw(t, "eligible")}}}
	for range p.Metrics {
		p.During = append(p.During, rapid.Bool().Draw(t, "during"))
	}
	for range 2 {
		level := make([]int32, p.Servers)
		for s := range level {
			level[s] = int32(n("domain", 0, min(2, p.Servers-1)))
		}
		p.Domains = append(p.Domains, level)
	}
	for range p.Replicas * p.Metrics {
		p.Load = append(p.Load, int64(n("load", 0, 4)))
	}
	groups(p)
	place := func(name string, least int) (list []int32) {
		for range p.Replicas {
			list = append(list, int32(n(name, least, p.Servers-1)))
		}
		return list
	}
	start, places := place("start", -1), place("to", 0)
	p.Start = start
	p.Capacity = make([]int64, p.Servers*p.Metrics)
	idle := slices.Repeat([]int32{-1}, p.Replicas)
	for _, on := range [][]int32{start, places} { // as much as they need, and a little more
		use := make([]int64, len(p.Capacity))
		for r, t := range on {
			for m := range p.Metrics {
				if t >= 0 {
					use[int(t)*p.Metrics+m] += p.Load[r*p.Metrics+m]
				}
			}
		}
		for i, u := range use {
			p.Capacity[i] = max(p.Capacity[i], u)
		}
	}
	for i := range p.Capacity {
		p.Capacity[i] += int64(n("spare", 0, 2))
	}
	for _, on := range [][]int32{start, places} {
		if w := (&transit{p, on, idle}); len(w.broken()) > 0 {
			t.SkipNow()
		}
	}
	return p, places
}

// grouped gives a problem groups, with all that may hold between replicas.
func grouped(t *rapid.T) func(p *problem.Problem) {
	n := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(t, name) }
	return func(p *problem.Problem) {
		p.Groups = n("groups", 1, 5)
		for range p.Replicas {
			p.Group, p.Class = append(p.Group, int32(n("group", 0, p.Groups-1))), append(p.Class, int32(n("class", 0, 1)*n("class", 0, 1)))
		}
		for g := range p.Groups {
			p.Exclusive = append(p.Exclusive, n("exclusive", 0, 3) == 0)
			switch level, on := n("level", 0, 1), n("on", 0, p.Groups-1); {
			case n("spread", 0, 3) == 0:
				p.Spreads = append(p.Spreads, problem.Spread{Group: g, Level: level, Min: n("min", 0, 1), Max: n("max", 0, 2)})
			case on != g && n("relation", 0, 3) == 0:
				p.Relations = append(p.Relations, problem.Relation{Group: g, On: on, Level: level, Not: rapid.Bool().Draw(t, "not")})
			}
		}
		if rapid.Bool().Draw(t, "capped") {
			p.Caps.Total = int32(n("cap", 1, 3))
		}
	}
}

// alone puts each replica in a group of its own, with nothing between them.
func alone(p *problem.Problem) {
	p.Groups, p.Exclusive, p.Class = p.Replicas, make([]bool, p.Replicas), make([]int32, p.Replicas)
	for r := range p.Replicas {
		p.Group = append(p.Group, int32(r))
	}
}

// TestEveryPrefixKeepsTheConstraints: at each prefix of each wave, and in whatever order its moves end; and what is not told to be blocked arrives.
func TestEveryPrefixKeepsTheConstraints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, places := draw(t, grouped(t))
		steps, blocked, err := waves.Order(p, places)
		if err != nil {
			t.Fatal(err)
		}
		at := play(t, p, steps)
		for r, want := range places {
			is := slices.ContainsFunc(blocked, func(b waves.Blocked) bool { return int(b.Replica) == r && b.To == want })
			if at[r] != want && !is {
				t.Fatalf("replica %d is on %d, not %d, and nothing says why: %+v", r, at[r], want, blocked)
			}
		}
	})
}

// TestWithoutCirclesAllMove: where moves do not lead round in a circle, each one is made, and none takes a detour.
func TestWithoutCirclesAllMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, places := draw(t, alone)
		for r, to := range places { // to higher servers only
			if to < p.Start[r] {
				places[r] = p.Start[r]
			}
		}
		use := make([]int64, len(p.Capacity))
		for r, to := range places {
			for m := range p.Metrics {
				use[int(to)*p.Metrics+m] += p.Load[r*p.Metrics+m]
			}
		}
		for i, u := range use {
			p.Capacity[i] = max(p.Capacity[i], u)
		}
		steps, blocked, err := waves.Order(p, places)
		if err != nil || len(blocked) > 0 {
			t.Fatalf("%v, blocked: %+v", err, blocked)
		}
		if at := play(t, p, steps); !slices.Equal(at, places) {
			t.Fatalf("at %v, not %v", at, places)
		}
		if slices.ContainsFunc(steps, func(s waves.Step) bool { return s.Detour }) {
			t.Fatalf("a detour for nothing: %+v", steps)
		}
	})
}

// full is servers with room for 2 each, and a replica of load 2 on each of the first ones.
func full(servers, replicas int) *problem.Problem {
	p := &problem.Problem{Metrics: 1, Servers: servers, Replicas: replicas, Tiers: 1, During: []bool{true}, Eligible: [][]uint64{nil},
		Capacity: slices.Repeat([]int64{2}, servers), Load: slices.Repeat([]int64{2}, replicas)}
	alone(p)
	for r := range replicas {
		p.Start = append(p.Start, int32(r))
	}
	return p
}

// together is shards that are in zone 0, each only where the other is too if that is said, and go to zone 1: of the first, and of the second.
func together(first, second int, mutual ...problem.Relation) *problem.Problem {
	n := first + second
	p := full(3*n, n)
	p.Groups, p.Exclusive = 2, []bool{true, true}
	p.Domains = [][]int32{slices.Concat(make([]int32, n), slices.Repeat([]int32{1}, n), make([]int32, n))} // with spare places in zone 0
	p.Group = slices.Concat(make([]int32, first), slices.Repeat([]int32{1}, second))
	p.Relations = mutual
	return p
}

func TestCircles(t *testing.T) {
	for name, c := range map[string]struct {
		p       *problem.Problem
		to      []int32
		steps   string
		blocked string
	}{
		"two change places through a spare one": {p: full(3, 2), to: []int32{1, 0}, steps: "1: 0>2, 2: 1>0, 3: 2>1, "},
		"three in one wave after another":       {p: full(4, 3), to: []int32{1, 2, 0}, steps: "1: 0>3, 2: 2>0, 3: 1>2, 4: 3>1, "},
		"two circles in turn": {p: full(5, 4), to: []int32{1, 0, 3, 2},
			steps: "1: 0>4, 2: 1>0, 3: 4>1, 4: 2>4, 5: 3>2, 6: 4>3, "},
		"or at once, if there is room": {p: full(6, 4), to: []int32{1, 0, 3, 2},
			steps: "1: 0>4, 1: 2>5, 2: 1>0, 2: 3>2, 3: 4>1, 3: 5>3, "},
		"without a spare place nobody moves": {p: full(2, 2), to: []int32{1, 0}, blocked: "0>1 metric 0, 1>0 metric 0, "},
		"where the spare place is not for the first, the second goes": {p: func() *problem.Problem {
			p := full(3, 2)
			p.Eligible, p.Class = [][]uint64{nil, {3}}, []int32{1, 0}
			return p
		}(), to: []int32{1, 0}, steps: "1: 1>2, 2: 0>1, 3: 2>0, "},
		"who needs another goes once one is there, and is not left behind": {p: together(1, 2, problem.Relation{Group: 0, On: 1}), to: []int32{3, 4, 5},
			steps: "1: 1>4, 2: 0>3, 3: 2>5, "},
		"two that need each other stay": {p: together(1, 1, problem.Relation{Group: 0, On: 1}, problem.Relation{Group: 1, On: 0}), to: []int32{2, 3},
			blocked: "0>2 unrelated, 1>3 unrelated, "},
		"what is free at once needs none, in the right order": {p: func() *problem.Problem {
			p := full(3, 2)
			p.During[0] = false
			return p
		}(), to: []int32{1, 2}, steps: "1: 1>2, 1: 0>1, "},
		"what is free later comes later": {p: full(3, 2), to: []int32{1, 2}, steps: "1: 1>2, 2: 0>1, "},
	} {
		t.Run(name, func(t *testing.T) {
			steps, blocked, err := waves.Order(c.p, c.to)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range steps {
				got += fmt.Sprintf("%d: %d>%d, ", s.Wave, s.From, s.To)
			}
			if got != c.steps {
				t.Errorf("steps %q, expected %q", got, c.steps)
			}
			got = ""
			for _, b := range blocked {
				got += fmt.Sprintf("%d>%d %s, ", b.Replica, b.To, map[assignment.Refusal]string{assignment.Full: fmt.Sprint("metric ", b.Metric), assignment.Unrelated: "unrelated"}[b.Refused])
			}
			if got != c.blocked {
				t.Errorf("blocked %q, expected %q", got, c.blocked)
			}
		})
	}
}
