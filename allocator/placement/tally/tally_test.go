package tally_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// app has three servers, of eu, us and us, and a shard with two replicas for each pair of loads and places.
func app(goals []terms.Goal, shards ...[3]int) placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 2, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for i, region := range []string{"eu", "us", "us"} {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("s%d.kv", i)), Accepts: true,
			Locality: shard.Locality{Region: region, Zone: fmt.Sprint(i)}, Capacity: map[string]int64{"cpu": 100, "memory": 100}})
	}
	for i, s := range shards {
		sh := placement.Shard{Index: shard.Index(i), ID: shard.ID(fmt.Sprint(i)), Load: map[string]int64{placement.MetricShards: 1, "cpu": int64(s[0]), "memory": 10}}
		for k, on := range s[1:] {
			sh.Replicas = append(sh.Replicas, placement.Replica{On: on, To: -1, Role: shard.Primary + shard.Role(k), Settled: true})
		}
		in.Shards = append(in.Shards, sh)
	}
	in.Apart = latency.Of([]latency.Pair{{From: "eu", To: "us", Estimate: latency.Estimate{Median: 90 * time.Millisecond}}})
	in.Terms = &terms.Terms{Classes: []terms.Class{{Goals: goals}}, Of: make([]int32, len(shards))}
	return in
}

func lines(costs []tally.Cost) (list []string) {
	for _, c := range costs {
		list = append(list, fmt.Sprintf("%d %s", c.Tier, c))
	}
	return list
}

// Each goal of a policy, counted by hand: what it costs in all, and what it would cost more if the primary of shard 0 were on another server.
func TestGoals(t *testing.T) {
	t.Parallel()
	over := terms.Spread{Over: terms.Over{Width: locality.Region}, AtLeast: 2}
	traffic := []terms.Route{{From: "eu", To: "us", Cost: 3e9}, {From: "us", To: "us", Cost: 1e9}}
	for name, c := range map[string]struct {
		goal  terms.Goal
		total string
		more  string // on server 2
	}{
		"preference":       {terms.Goal{Kind: terms.Preference, Primaries: true, Regions: []string{"eu", "us"}}, "0 places", "+1 place"},
		"of all replicas":  {terms.Goal{Kind: terms.Preference, Regions: []string{"eu"}}, "2 places", "+1 place"},
		"latency":          {terms.Goal{Kind: terms.Latency, Primaries: true, Clients: map[string]int64{"eu": 9, "us": 1}}, "18 ms", "+72 ms"},
		"apart":            {terms.Goal{Kind: terms.Apart, Spread: over}, "0 domains", "+1 domain"},
		"to the nearest":   {terms.Goal{Kind: terms.Latency, Clients: map[string]int64{"eu": 9, "us": 1}}, "0 ms", "+81 ms"},
		"utilization":      {terms.Goal{Kind: terms.Utilization, Metric: "cpu", Percent: 50}, "20 % of capacity", "-10 % of capacity"},
		"begun millionths": {terms.Goal{Kind: terms.Utilization, Metric: "cpu", Percent: 59}, "2 % of capacity", "-1 % of capacity"},
		"balance":          {terms.Goal{Kind: terms.Balance, Metric: "cpu", Largest: true, Percent: 0}, "12.5 %, 2 servers", "-1 server"},
		"of each region":   {terms.Goal{Kind: terms.Balance, Metric: "cpu", Largest: true, Regional: true, Percent: 0}, "0 %, 50 %, 1 server", ""},
		"within tolerance": {terms.Goal{Kind: terms.Balance, Metric: "cpu", Largest: true, Percent: 30}, "0 %", ""},
		"half way in":      {terms.Goal{Kind: terms.Balance, Metric: "cpu", Largest: true, Percent: 20}, "7.5 %, 2 servers", "-1 server"},
		"fail-over":        {terms.Goal{Kind: terms.Failover, Spread: terms.Spread{Over: terms.Over{Width: locality.Host}}}, "1 squared take-over", "-1 squared take-over"},
		"to one region":    {terms.Goal{Kind: terms.Failover, Spread: terms.Spread{Over: terms.Over{Width: locality.Region}}}, "0 squared take-overs", ""},
		"sum of squares":   {terms.Goal{Kind: terms.Balance, Metric: "cpu", Percent: 0}, "10.2 %", "-12.5 %"},
		"ratio":            {terms.Goal{Kind: terms.Balance, Metric: "memory", Other: "cpu", Milli: 1000}, "80 cpu", ""},
		"cost":             {terms.Goal{Kind: terms.Cost, Price: []int64{1_500_000, 2_000_000, 4_000_000}}, "3.5 an hour", "+4 an hour"},
		"traffic":          {terms.Goal{Kind: terms.Cost, Metric: "memory", Clients: map[string]int64{"us": 1}, Traffic: traffic}, "80 an hour", "-20 an hour"},
		"to secondaries":   {terms.Goal{Kind: terms.Cost, Metric: "memory", Traffic: traffic}, "60 an hour", "-20 an hour"},
		"with its servers": {terms.Goal{Kind: terms.Cost, Metric: "memory", Price: []int64{1_500_000, 2_000_000, 4_000_000}, Traffic: traffic}, "63.5 an hour", "-16 an hour"},
		"parts of millionths": {terms.Goal{Kind: terms.Cost, Metric: "memory", Traffic: []terms.Route{{From: "eu", To: "us", Cost: 1}}}, "0.000001 an hour",
			"-0.000001 an hour"},
		"of most moved":    {terms.Goal{Kind: terms.Movement, MostMoved: true}, "0 moves", ""},
		"movement":         {terms.Goal{Kind: terms.Movement, Metric: "memory", Moves: []terms.Route{{From: "eu", To: "us", Cost: 5}}}, "0 memory", "+15 memory"},
		"number of moves":  {terms.Goal{Kind: terms.Movement}, "0 moves", "+1 move"},
		"nothing to count": {terms.Goal{Kind: terms.Utilization, Metric: "disk", Percent: 50}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.goal.Name, c.goal.Tier, c.goal.Weight = "goal", 3, 1
			in := app([]terms.Goal{c.goal}, [3]int{10, 0, 1}, [3]int{50, 0, 1})
			count := tally.New(&in)
			find := func(costs []tally.Cost, plus string) string {
				var list []string
				for _, cost := range costs {
					if strings.HasPrefix(cost.Goal, "goal") {
						amount := cost.Unit.Text(cost.Amount)
						if cost.Amount > 0 {
							amount = plus + amount
						}
						list = append(list, amount)
					}
				}
				return strings.Join(list, ", ")
			}
			total, more := find(count.Totals(), ""), find(count.Elsewhere(0, 0, 0, 2), "+")
			if total != c.total || more != c.more {
				t.Errorf("in all %q, expected %q; elsewhere %q, expected %q", total, c.total, more, c.more)
			}
		})
	}
}

// The most important tier in which costs differ decides, and in it the weighted sum.
func TestCompare(t *testing.T) {
	t.Parallel()
	of := func(tier int, amount, weight int64) tally.Cost {
		return tally.Cost{Tier: tier, Goal: "g", Unit: tally.Moves, Amount: amount, Weight: weight}
	}
	for i, c := range []struct {
		a, b []tally.Cost
		want int
	}{
		{nil, nil, 0},
		{[]tally.Cost{of(1, 1, 1)}, nil, 1},
		{[]tally.Cost{of(1, -1, 1), of(2, 9, 1)}, nil, -1},
		{[]tally.Cost{of(1, 3, 1), of(1, -1, 3), of(2, 1, 1)}, nil, 1},
		{[]tally.Cost{of(1, 1<<62, 9), of(1, -1, 1)}, []tally.Cost{of(2, 1, 1)}, 1},
	} {
		if got := tally.Compare(c.a, c.b); got != c.want {
			t.Errorf("%d: %d, expected %d", i, got, c.want)
		}
		if got := tally.Compare(c.b, c.a); got != -c.want {
			t.Errorf("%d the other way: %d", i, got)
		}
	}
	if got := lines(tally.Decisive([]tally.Cost{of(1, 3, 1), of(1, -1, 3), of(2, 1, 1), of(3, 1, 1)})); !cmp.Equal(got, []string{"2 g +1 move"}) {
		t.Errorf("decisive: %q", got)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"0 ms":        tally.Micros.Text(0),
		"0.03 ms":     tally.Micros.Text(30),
		"12.3 ms":     tally.Micros.Text(12_345),
		"123 ms":      tally.Micros.Text(123_456),
		"-1.5 ms":     tally.Micros.Text(-1500),
		"4.2 %":       tally.Share.Text(42),
		"1 place":     tally.Places.Text(1),
		"-1 place":    tally.Places.Text(-1),
		"2 domains":   tally.Domains.Text(2),
		"7 memory":    tally.Unit("memory").Text(7),
		"0.5 an hour": tally.Price.Text(500_000),
	} {
		if text != want {
			t.Errorf("%q, expected %q", text, want)
		}
	}
}

// Every kind of constraint, broken once; and what keeps a server from a replica, with numbers.
func TestConstraints(t *testing.T) {
	t.Parallel()
	zone := terms.Over{Width: locality.Region}
	in := app(nil, [3]int{80, 1, 2}, [3]int{30, 0, 1})
	in.Policy.Regions = map[string]int{"eu": 1}
	in.Terms.Labels = []terms.Label{{Key: "power", Domain: []int32{0, 0, 1}, Values: []string{"a", "b"}}}
	in.Terms.Classes[0] = terms.Class{
		Fences:    []terms.Fence{{Name: "fence", Allows: []uint64{0b011}}},
		Spreads:   []terms.Spread{{Name: "regions", Over: zone, AtMost: 1}, {Name: "feeds", Over: terms.Over{Label: 0}, AtLeast: 2}},
		Relations: []terms.Relation{{Name: "alone", Over: terms.Over{Width: locality.Host}, Not: true, Each: true}, {Name: "with names", Over: zone, With: "names", On: []int32{1}}},
		Pins:      []terms.Pin{{Name: "pin", Servers: []int32{0}}},
	}
	count := tally.New(&in)
	var got []string
	for _, b := range count.Broken() {
		got = append(got, fmt.Sprintf("%s %d %s", b.Binds, b.Count, b.Example))
	}
	want := []string{"alone 2 0", "capacity.cpu 1 s1.kv", "feeds 1 1", "fence 1 0", "pin 1 0", "region_replicas.eu 1 0", "regions 1 0", "with names 1 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for server, want := range []string{
		"with names: names has no replica in region eu", "held: it has a replica of the shard, or is to get one", "fence: its expression is false for the server",
	} {
		in.Terms.Classes[0].Relations[0].Each, in.Terms.Classes[0].Relations[0].Not = false, true
		if binds, why := count.Excludes(0, -1, shard.Secondary, server); binds+": "+why != want && server != 1 {
			t.Errorf("server %d: %s: %s, expected %s", server, binds, why, want)
		}
	}
}
