package placement_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// city makes servers in places like `eu/1`, and shards from texts: `0` is a primary on server 0, `1s` a secondary in sync there, `2u` one
// that is not in sync, `3l` one that is leaving.
func city(policy placement.Policy, places string, shards ...string) placement.Input {
	names := strings.Fields(places)
	in := build(len(names))
	policy.Moves, policy.MovesPerServer, policy.TolerancePercent = 64, 8, 10
	in.Policy = policy
	for i, name := range names {
		region, zone, _ := strings.Cut(name, "/")
		in.Servers[i].Locality = shard.Locality{Region: region, Zone: zone}
		if strings.HasSuffix(name, "!") { // to be left
			in.Servers[i].Locality.Zone = strings.TrimSuffix(zone, "!")
			in.Servers[i].Accepts, in.Servers[i].Leaving = false, true
		}
	}
	for i, text := range shards {
		s := placement.Shard{Index: shard.Index(i), Load: map[string]int64{placement.MetricShards: 1}}
		for _, word := range strings.Fields(text) {
			r := placement.Replica{On: int(word[0] - '0'), To: -1, Role: shard.Primary, Settled: true}
			if len(word) > 1 {
				r.Role, r.Settled, r.Leaving = shard.Secondary, word[1] != 'u', word[1] == 'l'
			}
			s.Replicas = append(s.Replicas, r)
		}
		in.Shards = append(in.Shards, s)
	}
	return in
}

// apart says how many milliseconds ap, us and sa are from eu.
func apart(in placement.Input, ap, us, sa int) placement.Input {
	far := func(region string, ms int) latency.Pair {
		return latency.Pair{From: "eu", To: region, Estimate: latency.Estimate{Median: time.Duration(ms) * time.Millisecond}}
	}
	in.Apart = latency.Of([]latency.Pair{far("ap", ap), far("us", us), far("sa", sa)})
	return in
}

// noPrimaries lets servers take none.
func noPrimaries(in placement.Input, servers ...int) placement.Input {
	for _, i := range servers {
		in.Servers[i].Capacity = map[string]int64{placement.MetricPrimaries: 0}
	}
	return in
}

// wanting says how many replicas each shard should have.
func wanting(in placement.Input, n ...int) placement.Input {
	for i := range n {
		in.Shards[i].Wanted = n[i]
	}
	return in
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	two, three := placement.Policy{Replicas: 2, Primary: true}, placement.Policy{Replicas: 3, Primary: true}
	zones := three
	zones.Spread = locality.Zone
	eu, euFirst := placement.Policy{Replicas: 1, Primary: true, PreferRegions: []string{"eu"}}, two
	euFirst.PreferRegions = []string{"eu", "us"}
	both := placement.Policy{Replicas: 2, Primary: true, Regions: map[string]int{"eu": 1, "us": 1}}
	readers := placement.Policy{Replicas: 2}
	for _, c := range []struct {
		name  string
		in    placement.Input
		moves string
		binds []string // with the numbers
	}{
		{name: "a primary first, then the others, apart", in: city(three, "eu/1 eu/1 eu/2 us/1", ""),
			moves: "place 0:->_ replicas +0:->3_ replicas +0:->2_"},
		{name: "all primaries before any secondary", in: city(two, "eu/1 us/1", "", ""), moves: "place 0:->_ place 1:->1_ replicas +0:->1_ replicas +1:->_"},
		{name: "no primaries where there are none", in: city(readers, "eu/1 us/1", ""), moves: "replicas +0:->_ replicas +0:->1_"},
		{name: "two of three fit", in: city(zones, "eu/1 eu/1 eu/2", ""), moves: "place 0:->_ replicas +0:->2_",
			binds: []string{"spread zone: 3 replicas wanted, 2 zones have servers"}},
		{name: "more replicas than servers", in: city(three, "eu/1", ""), moves: "place 0:->_",
			binds: []string{"spread host: 3 replicas wanted, 1 hosts have servers", "spread host: 3 replicas wanted, 1 hosts have servers"}},
		{name: "zones of two regions are not the same", in: city(zones, "ap/1 eu/1 us/1", ""), moves: "place 0:->_ replicas +0:->1_ replicas +0:->2_"},
		{name: "a replica in sync is promoted", in: city(two, "eu/1 us/1", "1s"), moves: "place ^0:->1_ replicas +0:->_"},
		{name: "one that is not in sync is not", in: city(two, "eu/1 us/1", "1u"), moves: "place 0:->_"},
		{name: "but where nothing else is", in: city(two, "eu/1", "0u"), moves: "place 0:->_", binds: []string{"spread host: 2 replicas wanted, 1 hosts have servers"}},
		{name: "the region with too few comes first", in: city(both, "eu/1 eu/2 us/1", "0", "2"), moves: "replicas +0:->2_ replicas +1:->1_"},
		{name: "a region without servers is named", in: city(both, "eu/1 eu/2", "0 1s"),
			binds: []string{"region_replicas.us: 1 replicas wanted in region us, 0 there: no server is in it"}},
		{name: "and filled when it has some", in: city(both, "eu/1 eu/2 us/1", "0 1s"), moves: "repair 0:1_>2_"},
		{name: "primaries go where they are preferred", in: city(eu, "ap/1 eu/1 eu/2", "", "", "0"), moves: "place 0:->1_ place 1:->2_ prefer 2:_>1_"},
		{name: "a secondary there is promoted", in: city(euFirst, "eu/1 us/1", "1 0s"), moves: "prefer ^0:1_>_"},
		{name: "or waited for", in: city(euFirst, "eu/1 us/1", "1 0u")},
		{name: "the second best is better than the third", in: city(euFirst, "ap/1 us/1 ap/2", "0 1s"), moves: "prefer ^0:_>1_"},
		{name: "nothing is better", in: city(eu, "ap/1 us/1", "0", "1")},
		{name: "where they cannot be is as good as anywhere", in: city(eu, "ap/1 eu/1! us/1 sa/1", "", "1", ""), moves: "place 0:->_ place 2:->3_ drain 1:1_>2_"},
		{name: "unless it is known what is near", in: apart(city(eu, "ap/1 eu/1! us/1 sa/1", "", "1", ""), 200, 90, 300), moves: "place 0:->2_ place 2:->2_ drain 1:1_>2_"},
		{name: "and what is alike is shared", in: apart(city(eu, "ap/1 eu/1! us/1 sa/1", "", "1", ""), 91, 90, 300), moves: "place 0:->_ place 2:->2_ drain 1:1_>_"},
		{name: "to be nearer is worth a move", in: apart(city(eu, "ap/1 us/1", "0", "0"), 200, 90, 300), moves: "prefer 0:_>1_ prefer 1:_>1_"},
		{name: "none is taken from where it is better", in: noPrimaries(apart(city(placement.Policy{Replicas: 2, Primary: true, PreferRegions: []string{"eu"}}, "ap/1 eu/1 us/1", "0 1s"), 200, 90, 300), 1, 2)},
		{name: "the nearest of those in sync is promoted", in: apart(city(placement.Policy{Replicas: 3, Primary: true, PreferRegions: []string{"eu"}}, "ap/1 eu/1! us/1 sa/1", "0s 2s 3s"), 200, 90, 300), moves: "place ^0:->2_"},
		{name: "an unknown region is no reason to move", in: city(placement.Policy{Replicas: 1, Primary: true, PreferRegions: []string{"mars"}}, "ap/1 us/1", "0", "1")},
		{name: "replicas move apart", in: city(two, "eu/1 eu/1 eu/2", "0 1s"), moves: "spread 0:1_>2_"},
		{name: "regions are farther than zones", in: city(two, "eu/1 eu/2 us/1", "0 1s"), moves: "spread 0:1_>2_"},
		{name: "a drain keeps the role", in: city(two, "eu/1! us/1 ap/1", "0 1s"), moves: "drain 0:_>2_"},
		{name: "a drain without a place hands over the primary", in: city(two, "eu/1! us/1", "0 1s"), moves: "drain ^0:_>1_"},
		{name: "a drain may take replicas nearer", in: city(two, "eu/1! us/1 us/2", "0 1s"), moves: "drain 0:_>2_"},
		{name: "but not together", in: city(placement.Policy{Replicas: 2, Primary: true, Spread: locality.Region}, "eu/1! us/1 us/2", "1 0s"),
			binds: []string{"spread region: 2 replicas wanted, 1 regions have servers"}},
		{name: "replicas that share a zone are parted", in: city(placement.Policy{Replicas: 2, Primary: true, Spread: locality.Zone}, "eu/1 eu/1 eu/2", "0 1s"),
			moves: "repair 0:1_>2_"},
		{name: "surplus is dropped", in: city(two, "eu/1 eu/1 us/1", "0 1s 2s"), moves: "replicas -0:1_>-"},
		{name: "each shard has as many as it should", in: wanting(city(two, "eu/1 us/1 ap/1", "0 1s", "1 2s", "2 0s 1s", "0 2s 1s"), 3, 0, 3, 2), moves: "replicas +0:->2_ replicas -3:2_>-"},
		{name: "as far as there is a place", in: wanting(city(two, "eu/1 us/1", "0 1s"), 3), binds: []string{"spread host: 3 replicas wanted, 2 hosts have servers"}},
		{name: "surplus waits for others", in: city(two, "eu/1 us/1 ap/1", "0 1s 2u"), moves: "replicas -0:2_>-"},
		{name: "a leaving one is no replica", in: city(two, "eu/1 us/1 ap/1", "0 1l"), moves: "replicas +0:->2_"},
		{name: "primaries are balanced by promotion", in: city(two, "eu/1 us/1", "0 1s", "0 1s", "0 1s", "0 1s"), moves: "balance ^0:_>1_ balance ^1:_>1_"},
		{name: "no swap where one cannot be even", in: city(two, "eu/1 us/1", "0 1s", "0 1s", "1 0s")},
		{name: "a new server gets replicas of both roles", in: city(two, "eu/1 eu/1 eu/1", "0 1s", "1 0s", "0 1s", "1 0s", "0 1s", "1 0s"),
			moves: "balance 0:_>2_ balance 1:_>2_ balance 2:1_>2_ balance 3:1_>2_"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, after := solved(t, c.in, c.moves, c.binds)
			if again := placement.Solve(after); len(again.Moves) > 0 && c.name != "or waited for" && c.name != "one that is not in sync is not" {
				t.Errorf("solving the result moves %s", short(again))
			}
		})
	}
}

func TestCapacityOfPrimaries(t *testing.T) {
	t.Parallel()
	in := city(placement.Policy{Replicas: 2, Primary: true}, "eu/1 us/1 ap/1", "0s 1s", "0s 1s", "0s 1s")
	for i := range in.Servers {
		in.Servers[i].Capacity = map[string]int64{placement.MetricPrimaries: 1}
	}
	plan := placement.Solve(in)
	if got := short(plan); got != "place ^0:->_ place ^1:->1_" {
		t.Errorf("moves %q", got)
	}
	if last := plan.Decisions[len(plan.Decisions)-1]; last.Binds != "capacity.primaries" || last.Shard != 2 {
		t.Errorf("the third is not explained: %+v", last)
	}
}

func TestOverfullServersAreRelieved(t *testing.T) {
	t.Parallel()
	in := capacity(build(2, 0, 0, 0), 2)
	in.Policy.TolerancePercent = 1000 // no balance
	if got := short(placement.Solve(in)); got != "repair 0:_>1_" {
		t.Errorf("moves %q", got)
	}
}

// With servers for everything and no caps in the way, plans come to rest as soon as each shard made its moves, one with each plan, and
// primaries followed their replicas; no shard moves more often than it has replicas.
func TestPlansForReplicasDoNotThrash(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 9).Draw(t, "servers")
		in := build(n)
		in.Policy = placement.Policy{Replicas: rapid.IntRange(2, 3).Draw(t, "replicas"), Primary: rapid.Bool().Draw(t, "primary"),
			Moves: 1000, MovesPerServer: 1000, TolerancePercent: 10}
		for i := range in.Servers {
			in.Servers[i].Locality = shard.Locality{Region: string('a' + rune(i%3)), Zone: string('1' + rune(i/3))}
		}
		for i := range rapid.IntRange(0, 40).Draw(t, "shards") {
			s := placement.Shard{Index: shard.Index(i), Load: map[string]int64{placement.MetricShards: 1}}
			free := rapid.Permutation(positions(n)).Draw(t, "places")
			if !rapid.Bool().Draw(t, "placed") {
				free = nil
			}
			for k := range min(len(free), in.Policy.Replicas) {
				r := placement.Replica{On: free[k], To: -1, Role: shard.Secondary, Settled: true}
				if k == 0 && in.Policy.Primary {
					r.Role = shard.Primary
				}
				s.Replicas = append(s.Replicas, r)
			}
			in.Shards = append(in.Shards, s)
		}
		migrations := map[shard.Index]int{}
		for round := 0; ; round++ {
			plan := placement.Solve(in)
			if len(plan.Moves) == 0 {
				break
			}
			if round > in.Policy.Replicas+1 {
				t.Fatalf("plan %d moves %s", round+1, short(plan))
			}
			for _, m := range plan.Moves {
				if m.Kind == placement.Migrate {
					migrations[m.Shard]++
				}
				if migrations[m.Shard] > in.Policy.Replicas {
					t.Fatalf("plan %d moves more than all replicas of a shard: %s", round+1, short(plan))
				}
			}
			next, err := apply(in, plan)
			if err != nil {
				t.Fatal(err)
			}
			in = next
		}
	})
}

// worth is how good the places of one shard are, the first number first: replicas, replicas that regions lack, how preferred the
// primary's region is, and in how many regions, zones and racks they are. Nil: they break the spread.
func worth(in placement.Input, on []int) []int {
	count := map[shard.Locality]bool{}
	distinct := func(d locality.Domain) int {
		clear(count)
		for _, server := range on {
			l := locality.Of(in.Servers[server].Locality, d)
			if d == locality.Host && l.Host == "" {
				l.Host = string(in.Servers[server].ID)
			}
			count[l] = true
		}
		return len(count)
	}
	if distinct(width(in)) < len(on) {
		return nil
	}
	w := []int{len(on), 0, 0, distinct(locality.Region), distinct(locality.Zone), distinct(locality.Rack)}
	for region, least := range in.Policy.Regions {
		n := 0
		for _, server := range on {
			if in.Servers[server].Locality.Region == region {
				n++
			}
		}
		w[1] -= max(0, least-n)
	}
	if rank := slices.Index(in.Policy.PreferRegions, in.Servers[on[0]].Locality.Region); rank >= 0 {
		w[2] = -rank
	} else {
		w[2] = -len(in.Policy.PreferRegions)
	}
	return w
}

// bestWorth tries every place for every replica; the first is the primary.
func bestWorth(in placement.Input) (best []int) {
	var try func(on []int)
	try = func(on []int) {
		if len(on) > 0 {
			if w := worth(in, on); w == nil {
				return
			} else if best == nil || slices.Compare(w, best) > 0 {
				best = w
			}
		}
		if len(on) == in.Policy.Replicas {
			return
		}
		for server := range in.Servers {
			if !slices.Contains(on, server) {
				try(append(slices.Clone(on), server))
			}
		}
	}
	try(nil)
	return best
}

func TestOneShardIsPlacedAsWellAsTheOracleDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "servers")
		in := build(n, -1)
		for i := range in.Servers {
			in.Servers[i].Locality = drawLocality(t)
		}
		in.Policy = drawPolicy(t)
		in.Policy.Primary, in.Policy.Moves, in.Policy.MovesPerServer = true, 10, 10
		if rapid.Bool().Draw(t, "placed") {
			on := rapid.Permutation(positions(n)).Draw(t, "on")
			for k := range min(n, in.Policy.Replicas) {
				r := placement.Replica{On: on[k], To: -1, Role: shard.Secondary, Settled: true}
				if k == 0 {
					r.Role = shard.Primary
				}
				in.Shards[0].Replicas = append(in.Shards[0].Replicas, r)
			}
			if worth(in, on[:min(n, in.Policy.Replicas)]) == nil {
				return // repairs have a test of their own
			}
		}
		for range 10 {
			next, err := apply(in, placement.Solve(in))
			if err != nil {
				t.Fatal(err)
			}
			in = next
		}
		on := []int{place(in.Shards[0])}
		for _, r := range in.Shards[0].Replicas {
			if r.Role != shard.Primary {
				on = append(on, r.On)
			}
		}
		if got, want := worth(in, on), bestWorth(in); slices.Compare(got, want) != 0 {
			t.Fatalf("it is on %v, worth %v; the oracle reached %v", on, got, want)
		}
	})
}
