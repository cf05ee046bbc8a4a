package placement_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// resting draws an input in which every replica is there and may move anywhere, for goals of any kind, one in each tier.
func resting(t *rapid.T) placement.Input {
	n := rapid.IntRange(2, 6).Draw(t, "servers")
	in := build(n)
	in.Policy = placement.Policy{Replicas: rapid.IntRange(1, min(3, n)).Draw(t, "replicas"), Primary: rapid.Bool().Draw(t, "primary"), Moves: 99, MovesPerServer: 99,
		TolerancePercent: 10}
	regions := []string{"a", "b", "c"}
	for i := range in.Servers {
		in.Servers[i].Locality = shard.Locality{Region: rapid.SampledFrom(regions).Draw(t, "region"), Zone: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "zone")}
		in.Servers[i].Capacity = map[string]int64{"cpu": rapid.Int64Range(1, 60).Draw(t, "capacity")}
	}
	for i := range rapid.IntRange(1, 12).Draw(t, "shards") {
		s := placement.Shard{Index: shard.Index(i), Load: map[string]int64{placement.MetricShards: 1, "cpu": rapid.Int64Range(0, 20).Draw(t, "cpu"),
			"traffic": rapid.Int64Range(0, 3000).Draw(t, "traffic")}}
		for k, on := range rapid.Permutation(positions(n)).Draw(t, "places")[:in.Policy.Replicas] {
			r := placement.Replica{On: on, To: -1, Role: shard.Secondary, Settled: true}
			if k == 0 && in.Policy.Primary {
				r.Role = shard.Primary
			}
			s.Replicas = append(s.Replicas, r)
		}
		in.Shards = append(in.Shards, s)
	}
	for _, pair := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "c"}} {
		if ms := rapid.IntRange(0, 300).Draw(t, "ms"); ms > 0 { // 0: not known
			in.Apart = in.Apart.Else(latency.Of([]latency.Pair{{From: pair[0], To: pair[1], Estimate: latency.Estimate{Median: time.Duration(ms) * time.Millisecond}}}))
		}
	}
	var routes []terms.Route
	for _, from := range regions {
		for _, to := range regions {
			routes = append(routes, terms.Route{From: from, To: to, Cost: rapid.Int64Range(1, 9000).Draw(t, "cost")})
		}
	}
	var price []int64
	for range n {
		price = append(price, rapid.Int64Range(0, 9000).Draw(t, "price"))
	}
	clients, percent := map[string]int64{"a": 60, "b": 39, "d": 2}, rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "percent")
	all := []terms.Goal{
		{Kind: terms.Preference, Primaries: true, Regions: []string{"a", "b"}},
		{Kind: terms.Latency, Clients: clients},
		{Kind: terms.Latency, Clients: clients, Primaries: true},
		{Kind: terms.Utilization, Metric: "cpu", Percent: max(1, percent)},
		{Kind: terms.Balance, Metric: "cpu", Percent: percent, Largest: true},
		{Kind: terms.Balance, Metric: "cpu", Percent: percent, Largest: true, Regional: true},
		{Kind: terms.Balance, Metric: "cpu", Percent: percent, Regional: rapid.Bool().Draw(t, "regional")},
		{Kind: terms.Failover, Spread: terms.Spread{Over: terms.Over{Width: rapid.SampledFrom([]locality.Domain{locality.Host, locality.Zone, locality.Region}).Draw(t, "over")}}},
		{Kind: terms.Cost, Metric: "traffic", Price: price, Traffic: routes},
		{Kind: terms.Movement, Metric: "cpu", Moves: []terms.Route{{From: "a", To: "b", Cost: 5}, {From: "a", To: "a", Cost: 2}}},
	}
	if rapid.Bool().Draw(t, "with clients") {
		all[8].Clients = clients
	}
	var class terms.Class
	for i, g := range all {
		if rapid.IntRange(0, 2).Draw(t, "goal") > 0 {
			g.Name, g.Tier, g.Weight = fmt.Sprintf("goal %d", i), i+1, rapid.Int64Range(1, 9).Draw(t, "weight")
			class.Goals = append(class.Goals, g)
		}
	}
	in.Terms = &terms.Terms{Classes: []terms.Class{class}, Of: make([]int32, len(in.Shards))}
	return in
}

// What goals cost elsewhere is counted for people apart from the engine, and is the same: by each goal as much, but for parts that the engine counts in.
func TestTallyAgreesWithTheEngine(t *testing.T) {
	t.Parallel()
	compared := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		in := resting(rt)
		found, replica, err := placement.Judged(in)
		if err != nil {
			rt.Fatal(err)
		}
		traffic := int64(0)
		for i := range in.Shards {
			traffic += in.Shards[i].Load["traffic"]
		}
		parts := 1000 / min(max(traffic/int64(len(in.Shards)), 1), 1000) // of a unit of traffic
		count := tally.New(&in)
		for of, r := range replica {
			for server := range in.Servers {
				binds, verdict := found.Elsewhere(r, server)
				if binds != "" {
					continue
				}
				want, got := map[string]int64{}, map[string]int64{}
				for _, c := range verdict {
					want[c.Goal] = c.More
				}
				for _, c := range count.Elsewhere(of[0], of[1], 0, server) {
					name, _, _ := strings.Cut(strings.Replace(c.Goal, ":", ",", 1), ",")
					amount := c.Amount
					if c.Counts != 0 {
						if amount = c.Counts; c.Unit == tally.Price {
							amount *= parts
						}
						if (c.Amount < 0) != (c.Counts < 0) || c.Amount == 0 {
							rt.Fatalf("%s counts %d", c, c.Counts)
						}
					}
					got[name] += amount * c.Weight
				}
				for _, g := range in.Terms.Classes[0].Goals {
					if want[g.Name] != got[g.Name] {
						rt.Fatalf("shard %d, replica %d on server %d: %s costs %d more, and is told as %d: %v", of[0], of[1], server, g.Name, want[g.Name], got[g.Name],
							count.Elsewhere(of[0], of[1], 0, server))
					}
					if want[g.Name] != 0 {
						compared[g.Name]++
					}
				}
			}
		}
	})
	for i := range 10 {
		if name := fmt.Sprintf("goal %d", i); compared[name] == 0 {
			t.Errorf("%s never differed", name)
		}
	}
}
