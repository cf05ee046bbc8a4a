package engine_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// shaped is 1 000 servers in 5 regions with 225 replicas each, three metrics, six tiers: the shape of bench/placement's case zippy.
func shaped() *problem.Problem {
	const servers, groups, each = 1000, 75_000, 3
	random := rand.New(rand.NewPCG(1, 1))
	p := &problem.Problem{Metrics: 3, Servers: servers, Replicas: groups * each, Groups: groups, Tiers: 4, During: []bool{true, true, true},
		Exclusive: make([]bool, groups), Domains: [][]int32{make([]int32, servers)}, Unplaced: problem.Goal{Weight: 1}}
	for t := range servers {
		p.Domains[0][t] = int32(t % 5)
		p.Capacity = append(p.Capacity, 225*70, 225*70, 450)
	}
	for r := range p.Replicas {
		p.Group, p.Start = append(p.Group, int32(r/each)), append(p.Start, int32((r/each+r%each)%5+5*random.IntN(servers/5)))
		p.Load = append(p.Load, 5+random.Int64N(95), 5+random.Int64N(95), 1)
		p.Exclusive[r/each] = false
	}
	for g := range groups {
		p.Spreads = append(p.Spreads, problem.Spread{Group: g, Want: each, Goal: problem.Goal{Weight: 1, Tier: 1}})
	}
	for m, share := range []int64{225 * 52, 225 * 52, 225} {
		b := problem.Balance{Metric: m, Goal: problem.Goal{Weight: 1, Tier: 2}}
		limit := problem.Threshold{Metric: m, Goal: problem.Goal{Weight: 1, Tier: 2}}
		for range servers {
			limit.Limit = append(limit.Limit, share*11/10)
			b.Share, b.Unit = append(b.Share, share), append(b.Unit, share/1000+1)
		}
		p.Thresholds, p.Balances = append(p.Thresholds, limit), append(p.Balances, b)
	}
	return p
}

// BenchmarkStep measures proposals a second: those of the descent, and those of exploration.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name    string
		explore bool
	}{{"descent", false}, {"explore", true}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := engine.NewSearch(shaped(), engine.Options{Seed: 1, Explore: c.explore})
			if err != nil {
				b.Fatal(err)
			}
			for c.explore && !s.Descended() {
				s.Step(1_000_000)
			}
			before := s.Steps()
			b.ReportAllocs()
			b.ResetTimer()
			s.Step(int64(b.N))
			b.ReportMetric(float64(s.Steps()-before)/b.Elapsed().Seconds()/1e6, "Msteps/s")
		})
	}
}
