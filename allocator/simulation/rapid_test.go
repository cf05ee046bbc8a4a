package simulation_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/simulation"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// drawn is an app of any shape, moves under way and broken constraints included.
func drawn(t *rapid.T) placement.Input {
	n := rapid.IntRange(1, 7).Draw(t, "servers")
	in := app(n, 0, 1)
	in.Policy = placement.Policy{
		Replicas: rapid.IntRange(1, 3).Draw(t, "replicas"), Primary: rapid.IntRange(0, 3).Draw(t, "primary") > 0,
		Spread: locality.Domain(rapid.IntRange(0, 4).Draw(t, "width")), Moves: rapid.IntRange(1, 12).Draw(t, "moves"),
		MovesPerServer: rapid.IntRange(1, 6).Draw(t, "per server"), TolerancePercent: 10,
		PreferRegions: rapid.SampledFrom([][]string{nil, {"a"}, {"mars", "b"}}).Draw(t, "preferred"),
	}
	if rapid.Bool().Draw(t, "regions") {
		in.Policy.Regions = map[string]int{"a": 1}
	}
	for i := range in.Servers {
		s := &in.Servers[i]
		s.Locality = shard.Locality{Region: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "region"), Zone: rapid.SampledFrom([]string{"", "1"}).Draw(t, "zone")}
		s.Accepts = rapid.IntRange(0, 4).Draw(t, "accepts") > 0
		s.Capacity = map[string]int64{}
		for _, metric := range []string{placement.MetricPrimaries, "cpu"} {
			if rapid.Bool().Draw(t, "limited") {
				s.Capacity[metric] = rapid.Int64Range(0, 60).Draw(t, metric)
			}
		}
	}
	for i := range rapid.IntRange(0, 16).Draw(t, "shards") {
		s := placement.Shard{Index: shard.Index(i), ID: shard.ID(rune('a' + i)), Load: map[string]int64{placement.MetricShards: 1, "cpu": rapid.Int64Range(0, 20).Draw(t, "cpu")}}
		free := rapid.Permutation(positions(n)).Draw(t, "places")
		for k := range rapid.IntRange(0, min(n, in.Policy.Replicas+1)).Draw(t, "has") {
			r := placement.Replica{On: free[0], To: -1, Role: shard.Secondary, Settled: rapid.IntRange(0, 5).Draw(t, "settled") > 0}
			if free = free[1:]; k == 0 && in.Policy.Primary {
				r.Role = shard.Primary
			}
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
			case what == 0 && len(free) > 0:
				r.To, free, s.Pinned = free[0], free[1:], true
			case what == 1 && r.Role == shard.Secondary:
				r.Leaving = true
			case what == 2:
				r.On, r.Settled, s.Pinned = -1, false, true
			}
			s.Replicas = append(s.Replicas, r)
			if len(free) == 0 {
				break
			}
		}
		in.Shards = append(in.Shards, s)
	}
	return in
}

func positions(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// A simulated result breaks no hard constraint that held before: not more shards too near, not more regions short, not a server beyond a
// capacity that it was within, and nothing unplaced that was placed.
func TestNothingHardIsBroken(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawn(t)
		var c simulation.Changes
		for i := range in.Servers {
			if rapid.IntRange(0, 3).Draw(t, "drain") == 0 {
				c.Drain = append(c.Drain, server(i))
			}
		}
		if rapid.Bool().Draw(t, "add") {
			c.Add = []simulation.Addition{{Count: rapid.IntRange(1, 3).Draw(t, "added"), At: shard.Locality{Region: "a", Zone: "2"}}}
		}
		r, err := simulation.Run(in, c, most, goOn)
		if err != nil {
			t.Fatal(err)
		}
		if r.Stopped != "" {
			t.Fatalf("no rest: %s", r.Stopped)
		}
		b, a := r.Before, r.After
		if a.SpreadBroken > b.SpreadBroken || a.RegionsShort > b.RegionsShort || a.OverCapacity > b.OverCapacity || a.Unplaced > b.Unplaced || a.Missing > b.Missing {
			t.Fatalf("before %+v\nafter %+v", b, a)
		}
		begin, err := simulation.Run(in, c, 0, goOn)
		if err != nil {
			t.Fatal(err)
		}
		for i := range in.Shards {
			if !near(begin.End, i) && near(r.End, i) {
				t.Fatalf("shard %d: two replicas are too near to each other: %+v, before %+v", i, r.End.Shards[i], begin.End.Shards[i])
			}
		}
		for i := range r.End.Servers {
			for metric, capacity := range r.End.Servers[i].Capacity {
				if n := carried(r.End, i, metric); n > capacity && n > carried(begin.End, i, metric) {
					t.Fatalf("server %d: %s %d of %d, before %d", i, metric, n, capacity, carried(begin.End, i, metric))
				}
			}
		}
		// What was lost is not made good by breaking something either.
		lost, err := simulation.Run(in, simulation.Changes{LoseServers: []shard.ServerID{server(0)}}, most, goOn)
		if err != nil {
			t.Fatal(err)
		}
		if lost.After.SpreadBroken > lost.Before.SpreadBroken || lost.After.OverCapacity > lost.Before.OverCapacity {
			t.Fatalf("before %+v\nafter %+v", lost.Before, lost.After)
		}
		if served := lost.After.Unplaced - lost.Before.Unplaced; served > 0 && len(lost.Blocked) == 0 {
			t.Fatalf("%d shards are unplaced and nothing says why", served)
		}
	})
}

// near is a second reading of whether replicas of a shard are too near to each other.
func near(in placement.Input, i int) bool {
	for k, a := range in.Shards[i].Replicas {
		for _, b := range in.Shards[i].Replicas[:k] {
			if a.On >= 0 && b.On >= 0 && locality.Shared(in.Servers[a.On].Locality, in.Servers[b.On].Locality, max(in.Policy.Spread, locality.Host)) {
				return true
			}
		}
	}
	return false
}

// carried is what a server carries of a metric.
func carried(in placement.Input, server int, metric string) (n int64) {
	for _, s := range in.Shards {
		for _, r := range s.Replicas {
			switch {
			case r.On != server:
			case metric != placement.MetricPrimaries:
				n += s.Load[metric]
			case r.Role == shard.Primary:
				n++
			}
		}
	}
	return n
}
