package placement_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
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

func BenchmarkSolve(b *testing.B) {
	for name, in := range map[string]placement.Input{
		"place": cluster(false), "full": full(), "balance": cluster(true), "balance-uncapped": uncapped(cluster(true)),
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
