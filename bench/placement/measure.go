package main

import (
	"context"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/run"
)

// barrier is after how many steps of the engine it is asked whether the goal is reached.
const barrier = 1000

// goal says what is asked for: what the best assignment breaks, and costs by tier.
type goal func(broken int64, cost [problem.MaxTiers]int64) bool

// solve lets the engine search until the goal is reached, or until nothing improves.
func solve(p *problem.Problem, o options, reached goal) (*result, []int32, error) {
	found, err := run.Search(context.Background(), p, run.Config{Seed: o.seed, Workers: o.workers, Barrier: barrier, Ungrouped: o.ungrouped, Enough: reached})
	if err != nil {
		return nil, nil, err
	}
	r := &result{Seconds: found.Took.Seconds(), Build: found.Built.Seconds(), Steps: found.Steps, Servers: p.Servers, Replicas: p.Replicas}
	r.judge(p, p.Start, found.Places)
	return r, found.Places, nil
}

// judge counts moves and violations, those on the way included.
func (r *result) judge(p *problem.Problem, start, places []int32) {
	r.Moves, r.KindsBefore, r.Kinds = moves(start, places), violationsOf(p, start), violationsOf(p, places)
	r.Before = r.KindsBefore.sum()
	r.Kinds.Prefix = replay(p, start, places)
	r.Violations = r.Kinds.sum()
}

// follow adds a plan that was made where this one ended.
func (r *result) follow(next *result) {
	r.Rounds++
	r.Seconds, r.Build, r.Steps, r.Moves = r.Seconds+next.Seconds, r.Build+next.Build, r.Steps+next.Steps, r.Moves+next.Moves
	prefix := r.Kinds.Prefix
	r.Kinds = next.Kinds
	r.Kinds.Prefix += prefix
	r.Violations = r.Kinds.sum()
}

func moves(start, places []int32) (n int) {
	for r, t := range places {
		if t != start[r] {
			n++
		}
	}
	return n
}

// violations by kind: servers over capacity, or over a threshold, by metric; groups in fewer domains than they must be, or should be; groups with two
// replicas on a server; replicas without a place; moves of the plan that break a hard constraint in every order.
type violations struct {
	Capacity  int `json:"capacity"`
	Threshold int `json:"threshold"`
	Spread    int `json:"spread"`
	Exclusive int `json:"exclusive"`
	Unplaced  int `json:"unplaced"`
	Prefix    int `json:"prefix"`
}

func (v violations) sum() int {
	return v.Capacity + v.Threshold + v.Spread + v.Exclusive + v.Unplaced + v.Prefix
}

// violationsOf counts by the definitions, without the engine.
func violationsOf(p *problem.Problem, places []int32) (v violations) {
	use := make([]int64, p.Servers*p.Metrics)
	on := make([][]int32, p.Groups)
	for r, t := range places {
		if t < 0 {
			v.Unplaced++
			continue
		}
		for m := range p.Metrics {
			use[int(t)*p.Metrics+m] += p.Load[r*p.Metrics+m]
		}
		on[p.Group[r]] = append(on[p.Group[r]], t)
	}
	for i, u := range use {
		if u > p.Capacity[i] {
			v.Capacity++
		}
	}
	for _, g := range p.Thresholds {
		for t, limit := range g.Limit {
			if use[t*p.Metrics+g.Metric] > limit {
				v.Threshold++
			}
		}
	}
	for g, servers := range on {
		if p.Exclusive[g] && distinct(servers, func(t int32) int32 { return t }) < len(servers) {
			v.Exclusive++
		}
	}
	for _, s := range p.Spreads {
		d := distinct(on[s.Group], func(t int32) int32 { return p.Domains[s.Level][t] })
		if d < min(max(s.Min, s.Want), len(on[s.Group])) {
			v.Spread++
		}
	}
	return v
}

func distinct(servers []int32, of func(int32) int32) (n int) {
	for i, t := range servers {
		first := true
		for _, other := range servers[:i] {
			first = first && of(other) != of(t)
		}
		if first {
			n++
		}
	}
	return n
}
