package main

import (
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// failover loses the first of 20 regions: its replicas are without a place and its servers are not there. First everything is placed, then
// no server is over its threshold.
func failover(o options) (*result, error) {
	shards, servers := 500_000, 10_000
	if o.shards > 0 {
		shards = o.shards
	}
	if o.servers > 0 {
		servers = max(o.servers, 40)
	}
	const regions = 20
	w := newWorld(servers, regions, shards, 2, o.seed)
	w.scatter(true)
	lost := w.lose(regions)
	r, places, err := solve(lost, o, func(broken int64, cost [problem.MaxTiers]int64) bool { return broken == 0 && cost[0] == 0 })
	if err != nil {
		return nil, err
	}
	lost.First = places // the periodic rounds go on from there, and count moves from the start
	next, _, err := solve(lost, o, func(broken int64, cost [problem.MaxTiers]int64) bool {
		return broken == 0 && cost[spreadTier] == 0 && cost[thresholdTier] == 0
	})
	if err != nil {
		return nil, err
	}
	next.Emergency = r.Seconds
	next.Seconds += r.Seconds
	next.Build += r.Build
	next.Steps += r.Steps
	return next, nil
}

// lose is the problem without its first region: server t is t − t/regions − 1 of what is left, because regions take turns.
func (w *world) lose(regions int) *problem.Problem {
	p := *w.p
	index := make([]int32, p.Servers)
	left := []int32{}
	for t := range index {
		if index[t] = problem.Unplaced; t%regions != 0 {
			index[t] = int32(len(left))
			left = append(left, int32(t))
		}
	}
	p.Servers = len(left)
	p.Start = make([]int32, p.Replicas)
	for r, t := range w.p.Start {
		p.Start[r] = index[t]
	}
	p.Capacity, p.Domains = nil, [][]int32{nil}
	p.Thresholds, p.Balances = append([]problem.Threshold(nil), p.Thresholds...), append([]problem.Balance(nil), p.Balances...)
	for m := range p.Thresholds {
		p.Thresholds[m].Limit = pick(p.Thresholds[m].Limit, left)
		b := &p.Balances[m]
		b.Share, b.Slack, b.Unit = pick(b.Share, left), pick(b.Slack, left), pick(b.Unit, left)
	}
	for _, t := range left {
		p.Capacity = append(p.Capacity, w.p.Capacity[int(t)*3:int(t)*3+3]...)
		p.Domains[regionLevel] = append(p.Domains[regionLevel], w.p.Domains[regionLevel][t])
	}
	return &p
}

func pick(list []int64, at []int32) []int64 {
	some := make([]int64, len(at))
	for i, t := range at {
		some[i] = list[t]
	}
	return some
}
