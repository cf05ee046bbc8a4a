package placement_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const benchShards, benchServers = 100_000, 1_000

// cluster is 100 000 shards of different loads on 1 000 servers, or none of them placed.
func cluster(placed bool) placement.Input {
	random := rand.New(rand.NewPCG(1, 2))
	on := make([]int, benchShards)
	for i := range on {
		on[i] = -1
		if placed {
			on[i] = random.IntN(benchServers)
		}
	}
	in := build(benchServers, on...)
	for i := range in.Shards {
		in.Shards[i].Load["cpu"] = random.Int64N(1000)
	}
	for i := range in.Servers {
		in.Servers[i].Capacity = map[string]int64{"cpu": 100_000, placement.MetricShards: 200}
	}
	return in
}

// full is a cluster in which no server has room for more than a few of the shards that are unplaced.
func full() placement.Input {
	in := cluster(false)
	for i := range in.Servers {
		in.Servers[i].Capacity = map[string]int64{"cpu": 300, placement.MetricShards: 200}
	}
	return in
}

func uncapped(in placement.Input) placement.Input {
	in.Policy.Moves, in.Policy.MovesPerServer = benchShards, benchShards
	return in
}

// replicated is the same with a primary and a secondary of each shard in 3 regions of 3 zones.
func replicated(placed bool) placement.Input {
	in := cluster(false)
	in.Policy.Replicas = 2
	for i := range in.Servers {
		in.Servers[i].Locality = shard.Locality{Region: string('a' + rune(i%3)), Zone: string('1' + rune(i/3%3))}
		in.Servers[i].Capacity = map[string]int64{"cpu": 200_000, placement.MetricShards: 400}
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range in.Shards {
		if placed {
			first := random.IntN(benchServers - 1)
			in.Shards[i].Replicas = []placement.Replica{{On: first, To: -1, Role: shard.Primary, Settled: true},
				{On: first + 1, To: -1, Role: shard.Secondary, Settled: true}}
		}
	}
	return in
}

// regionLost is the replicated cluster after a third of its servers ended.
func regionLost() placement.Input {
	in := replicated(true)
	for i := range in.Servers {
		in.Servers[i].Accepts = i%3 > 0
	}
	for i := range in.Shards {
		s := &in.Shards[i]
		s.Replicas = slices.DeleteFunc(s.Replicas, func(r placement.Replica) bool { return r.On%3 == 0 })
		s.Urgent = s.Primary() == nil
	}
	return in
}

func BenchmarkSolve(b *testing.B) {
	for name, in := range map[string]placement.Input{
		"place": cluster(false), "full": full(), "balance": cluster(true), "balance-uncapped": uncapped(cluster(true)),
		"replicas-place": replicated(false), "replicas-region-lost": regionLost(), "replicas-balance": replicated(true),
		"replicas-balance-uncapped": uncapped(replicated(true)),
	} {
		b.Run(name, func(b *testing.B) {
			moves := 0
			for b.Loop() {
				moves = len(placement.Solve(in).Moves)
			}
			b.ReportMetric(float64(moves), "moves")
		})
	}
}
