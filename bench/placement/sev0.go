package main

import (
	"math/rand/v2"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// sev0 is 1 785 756 objects on 27 766 servers and one empty one: six metrics of storage, a server has room for 1 000 of each, and one of
// compute, 1 for each object and room for 110. The first 240 servers have 111 objects.
func sev0(o options) (*result, error) {
	const metrics, broken, room, compute = 7, 240, 1000, 110
	servers, objects := 27_766, 1_785_756
	if o.servers > 0 {
		servers = max(o.servers, broken+1)
	}
	if o.shards > 0 {
		objects = o.shards
	}
	objects = max(objects, broken*(compute+1))
	random := rand.New(rand.NewPCG(o.seed, 0))
	p := &problem.Problem{Metrics: metrics, Servers: servers + 1, Replicas: objects, Groups: objects, Tiers: 1,
		During: slices.Repeat([]bool{true}, metrics), Exclusive: make([]bool, objects), Unplaced: problem.Goal{Weight: 1},
		Load: make([]int64, 0, objects*metrics), Group: make([]int32, objects), Start: make([]int32, objects)}
	for range p.Servers {
		p.Capacity = append(p.Capacity, room, room, room, room, room, room, compute)
	}
	use := make([]int64, p.Servers*metrics)
	for r := range objects {
		var load [metrics]int64
		for m := range metrics - 1 {
			load[m] = 1 + random.Int64N(10)
		}
		load[metrics-1] = 1
		t := r / (compute + 1)
		if t >= broken { // the others are where they fit, at random
			for t = -1; t < 0; {
				if try := broken + random.IntN(servers-broken); fits(use[try*metrics:], load[:], p.Capacity[:metrics]) {
					t = try
				}
			}
		}
		for m, l := range load {
			use[t*metrics+m] += l
		}
		p.Load = append(p.Load, load[:]...)
		p.Group[r], p.Start[r] = int32(r), int32(t)
	}
	r, _, err := solve(p, o, func(broken int64, _ [problem.MaxTiers]int64) bool { return broken == 0 })
	return r, err
}

func fits(use, load, capacity []int64) bool {
	for m, l := range load {
		if use[m]+l > capacity[m] {
			return false
		}
	}
	return true
}
