package main

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

const (
	periodicMost  = 50 // rounds
	movesAtServer = 8  // from or to one server in a round, as the allocator's default is
)

// failover loses the first of 20 regions: its replicas are without a place and its servers are not there. Servers are filled to four fifths, so that the
// others are at 84 % of their capacity after that, and the threshold is 90 %. No two replicas of a shard may be in one region.
//
// The emergency plan places everything. Then periodic plans, each from where the one before ended, make moves until no server is over its threshold.
// Each plan is replayed move by move.
func failover(o options) (*result, error) {
	shards, servers := 500_000, 10_000
	if o.shards > 0 {
		shards = o.shards
	}
	if o.servers > 0 {
		servers = max(o.servers, 40)
	}
	w := newWorld(shape{servers: servers, regions: 20, shards: shards, replicas: 2, percent: 80, apart: true}, o.seed)
	w.scatter()
	p := w.lose()
	sum, places, err := solve(p, o, func(broken int64, cost [problem.MaxTiers]int64) bool { return broken == 0 && cost[unplacedTier] == 0 })
	if err != nil {
		return nil, err
	}
	after := sum.Kinds
	sum.Emergency, sum.EmergencyMoves, sum.AfterEmergency = sum.Seconds, sum.Moves, &after
	p.Caps.Server = slices.Repeat([]int32{movesAtServer}, p.Servers)
	for sum.Kinds.sum() > sum.Kinds.Prefix && sum.Rounds < periodicMost {
		p.Start = places
		r, next, err := solve(p, o, func(broken int64, cost [problem.MaxTiers]int64) bool {
			return broken == 0 && cost[unplacedTier] == 0 && cost[spreadTier] == 0 && cost[thresholdTier] == 0
		})
		if err != nil {
			return nil, err
		}
		sum.follow(r)
		places = next
	}
	return sum, nil
}

// lose is the problem without its first region: server t is t − t/regions − 1 of what is left, because regions take turns.
func (w *world) lose() *problem.Problem {
	p := *w.p
	index := make([]int32, p.Servers)
	left := []int32{}
	for t := range index {
		if index[t] = problem.Unplaced; t%w.regions != 0 {
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
	p.Thresholds, p.Balances = slices.Clone(p.Thresholds), slices.Clone(p.Balances)
	for m := range p.Thresholds {
		p.Thresholds[m].Limit = pick(p.Thresholds[m].Limit, left)
		b := &p.Balances[m]
		b.Share, b.Slack, b.Unit = pick(b.Share, left), pick(b.Slack, left), pick(b.Unit, left)
	}
	preferred := p.Affinities[0]
	preferred.Cost = slices.Clone(preferred.Cost)
	preferred.Cost[0] = make([]int64, w.regions) // who preferred the lost region prefers none
	p.Affinities = []problem.Affinity{preferred}
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
