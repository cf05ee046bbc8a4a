package engine_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// shaped is 1 000 servers in 5 regions with 225 replicas each, three metrics, four tiers: the shape of bench/placement's case zippy. A server is off
// balance if it has more or less than its share by more than the slack.
func shaped(slack func(share int64) int64) *problem.Problem {
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
		p.Movement.Replica = append(p.Movement.Replica, 1)
	}
	p.Movement.ReplicaWeight, p.Movement.Tier = 1, 3
	for g := range groups {
		p.Spreads = append(p.Spreads, problem.Spread{Group: g, Want: each, Goal: problem.Goal{Weight: 1, Tier: 1}})
	}
	for m, share := range []int64{225 * 52, 225 * 52, 225} {
		b := problem.Balance{Metric: m, Goal: problem.Goal{Weight: 1, Tier: 2}}
		limit := problem.Threshold{Metric: m, Goal: problem.Goal{Weight: 1, Tier: 2}}
		for range servers {
			limit.Limit = append(limit.Limit, share*11/10)
			b.Share, b.Unit, b.Slack = append(b.Share, share), append(b.Unit, share/1000+1), append(b.Slack, slack(share))
		}
		p.Thresholds, p.Balances = append(p.Thresholds, limit), append(p.Balances, b)
	}
	return p
}

// BenchmarkStep measures proposals a second: those of the descent where there is much to do, since nothing may be off balance, and those of exploration,
// after a descent that ends, with the allocator's tolerance: it looks for fewer moves, and is
// as cold as it is most of the time.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name    string
		explore bool
		slack   func(share int64) int64
	}{
		{"descent", false, func(int64) int64 { return 0 }},
		{"explore", true, func(share int64) int64 { return share / 20 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := engine.NewSearch(shaped(c.slack), engine.Options{Seed: 1, Explore: c.explore, Hot: 0.05, Horizon: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			for c.explore && !s.Descended() {
				s.Step(1_000_000)
			}
			s.Step(1)
			before := s.Steps()
			b.ReportAllocs()
			b.ResetTimer()
			s.Step(int64(b.N))
			b.StopTimer()
			if s.Over() {
				b.Fatal("nothing was left to do")
			}
			b.ReportMetric(float64(s.Steps()-before)/b.Elapsed().Seconds()/1e6, "Msteps/s")
		})
	}
}
