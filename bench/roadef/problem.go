package main

import "github.com/shardmanager/shardmanager/allocator/placement/problem"

// Levels of fault domains in the engine's problem.
const (
	location = iota
	neighborhood
)

// problem states an instance in the engine's terms: all costs are one tier, and a service is a group of replicas.
func (in *instance) problem(initial []int32) *problem.Problem {
	p := &problem.Problem{
		Metrics: in.resources, Servers: in.machines, Replicas: in.processes, Groups: in.services, Tiers: 1,
		Capacity: in.capacity, During: in.transient, Domains: [][]int32{dense(in.site), dense(in.hood)},
		Load: in.need, Group: in.service, Start: initial, Exclusive: make([]bool, in.services),
		Movement: problem.Movement{Replica: in.moveCost, ReplicaWeight: in.processWeight, Route: in.route, RouteWeight: in.machineWeight,
			GroupWeight: in.serviceWeight},
	}
	for s, least := range in.spreadMin {
		p.Exclusive[s] = true
		if least > 1 {
			p.Spreads = append(p.Spreads, problem.Spread{Group: s, Level: location, Min: least})
		}
	}
	known := map[[2]int]bool{}
	for _, d := range in.depends {
		if known[d] || d[0] == d[1] {
			continue
		}
		known[d] = true
		p.Relations = append(p.Relations, problem.Relation{Group: d[0], On: d[1], Level: neighborhood})
	}
	for r, w := range in.loadWeight {
		limit := make([]int64, in.machines)
		for m := range limit {
			limit[m] = in.safety[m*in.resources+r]
		}
		p.Thresholds = append(p.Thresholds, problem.Threshold{Metric: r, Limit: limit, Goal: problem.Goal{Weight: w}})
	}
	for _, b := range in.balances {
		p.Ratios = append(p.Ratios, problem.Ratio{A: b.a, B: b.b, Target: b.target, Goal: problem.Goal{Weight: b.weight}})
	}
	return p
}

// dense relabels domains 0, 1, … in the order of their appearance.
func dense(labels []int32) []int32 {
	known := map[int32]int32{}
	list := make([]int32, len(labels))
	for i, l := range labels {
		if _, ok := known[l]; !ok {
			known[l] = int32(len(known))
		}
		list[i] = known[l]
	}
	return list
}
