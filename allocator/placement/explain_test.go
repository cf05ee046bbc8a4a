package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/explain"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// told is an explanation in lines: of each replica the verdict, and under it how each server stands.
func told(t *testing.T, in placement.Input, at shard.Index) []string {
	t.Helper()
	e, ok := explain.Shard(in, at)
	if !ok {
		t.Fatal("the shard is not found")
	}
	var list []string
	for _, p := range e.Places {
		list = append(list, fmt.Sprintf("%s %s: %s", []string{"", "primary", "secondary"}[p.Role], p.Server, p.Verdict))
		for _, c := range p.Candidates {
			list = append(list, strings.TrimSpace(fmt.Sprintf("  %s %d %s", c.Server, c.Rank, c.Binds))+": "+c.Why)
		}
	}
	return list
}

func TestExplain(t *testing.T) {
	t.Parallel()
	in := build(6, 0, 0, -1)
	in.Servers[1].Accepts, in.Servers[1].Leaving = false, true
	in.Servers[2].Capacity = map[string]int64{placement.MetricShards: 0}
	in.Servers[3].Accepts = false
	in.Servers[5].Accepts, in.Servers[5].Why = false, "it is on probation"
	in.Shards[2].Avoid = []shard.ServerID{"s0004.kv"}
	want := []string{
		"primary : is missing, and goes to s0000.kv: s0000.kv is the least utilised server with room: 200 % of its fair share before",
		"s0000.kv 1: balance of shards +45 %",
		"s0001.kv 0 accepts: it is being drained",
		"s0002.kv 0 capacity.shards: it has 0 of shards left, of 0; the replica needs 1",
		"s0003.kv 0 accepts: it is not attached, or is suspected",
		"s0004.kv 0 avoid: callbacks for the shard failed there lately",
		"s0005.kv 0 accepts: it is on probation",
	}
	if diff := cmp.Diff(want, told(t, in, 2)); diff != "" {
		t.Error(diff)
	}
	if _, ok := explain.Shard(in, 3); ok {
		t.Error("a shard that does not exist is explained")
	}
}

func TestExplainReplicas(t *testing.T) {
	t.Parallel()
	policy := placement.Policy{Replicas: 2, Primary: true, Spread: locality.Zone, PreferRegions: []string{"eu"}, Regions: map[string]int{"us": 1}}
	in := city(policy, "us/1 us/1 us/2 eu/1 ap/1", "0 4s", "0")
	for at, want := range [][]string{
		{
			"primary s0000.kv: stays: s0001.kv would be better (balance of shards -63.6 %), but one change of the shard at a time, and the next plan makes another",
			"s0001.kv 1: balance of shards -63.6 %",
			"s0002.kv 2: balance of shards -63.6 %",
			"s0000.kv 3: here",
			"s0003.kv 0 region_replicas.us: region us must keep 1 replicas and has no more",
			"s0004.kv 0 held: it has a replica of the shard, or is to get one",
			"secondary s0004.kv: goes to s0003.kv: region eu is preferred to region us; s0003.kv is the least utilised server with room in another region than its other replicas: 100 % of its fair share before",
			"s0003.kv 1: balance of shards -63.6 %",
			"s0004.kv 2: here",
			"s0002.kv 3: spread over regions +1 domain, balance of shards -63.6 %",
			"s0000.kv 0 held: it has a replica of the shard, or is to get one",
			"s0001.kv 0 spread zone: 1 of at most 1 replicas in zone us/1 already, on s0000.kv",
		},
		{ // it lacks a secondary
			"secondary : is missing, and goes to s0004.kv: s0004.kv keeps the balance of shards: 0 % of its fair share before",
			"s0004.kv 1: balance of shards -45 %",
			"s0003.kv 2: balance of shards +45 %",
			"s0002.kv 3: spread over regions +1 domain, balance of shards -45 %",
			"s0000.kv 0 held: it has a replica of the shard, or is to get one",
			"s0001.kv 0 spread zone: 1 of at most 1 replicas in zone us/1 already, on s0000.kv",
			"primary s0000.kv: stays: s0001.kv would be better (balance of shards -63.6 %), but one change of the shard at a time, and the next plan makes another",
			"s0001.kv 1: balance of shards -63.6 %",
			"s0002.kv 2: balance of shards -63.6 %",
			"s0000.kv 3: here",
			"s0003.kv 0 region_replicas.us: region us must keep 1 replicas and has no more",
			"s0004.kv 0 region_replicas.us: region us must keep 1 replicas and has no more",
		},
	} {
		if diff := cmp.Diff(want, told(t, in, shard.Index(at))); diff != "" {
			t.Errorf("shard %d: %s", at, diff)
		}
	}
}

// Where no preferred region has room, it says how far the others are.
func TestExplainHowFar(t *testing.T) {
	t.Parallel()
	in := apart(city(placement.Policy{Replicas: 1, Primary: true, PreferRegions: []string{"eu"}}, "ap/1 eu/1! us/1", ""), 200, 90, 300)
	e, _ := explain.Shard(in, 0)
	for i, want := range []string{"region us is none of the preferred ones, and 90ms from eu", "region ap is none of the preferred ones, and 200ms from eu"} {
		if got := e.Places[0].Candidates[i].Why; !strings.Contains(got, want) {
			t.Errorf("candidate %d: %q, expected %q", i, got, want)
		}
	}
}

// several is a policy of several goals.
func several(in placement.Input) placement.Input {
	return under(apart(in, 200, 90, 300), terms.Class{
		Fences:  []terms.Fence{only(0, 1, 2, 3, 4, 5)},
		Spreads: []terms.Spread{{Name: "zones", Over: terms.Over{Width: locality.Zone}, AtMost: 1}},
		Goals: []terms.Goal{
			{Name: "region preference", Kind: terms.Preference, Tier: 1, Weight: 10, Primaries: true, Regions: []string{"eu", "us"}},
			{Name: "latency", Kind: terms.Latency, Tier: 3, Weight: 1, Clients: map[string]int64{"eu": 60, "us": 40}},
			{Name: "utilization of cpu", Kind: terms.Utilization, Tier: 3, Weight: 1, Metric: "cpu", Percent: 50},
			{Name: "balance of cpu", Kind: terms.Balance, Tier: 6, Weight: 1, Metric: "cpu", Percent: 10},
			{Name: "movement", Kind: terms.Movement, Tier: 8, Weight: 1, Metric: "cpu", Moves: []terms.Route{{From: "eu", To: "us", Cost: 5}}},
		},
	})
}

// With a policy of several goals each replica is explained by them, those of the most important tier first.
func TestExplainByGoals(t *testing.T) {
	t.Parallel()
	in := several(loads(city(placement.Policy{Replicas: 2, Primary: true}, "eu/1 eu/2 eu/2 us/1 us/2 ap/1 eu/3", "0 3s", "1 4s", "2 0s"), "cpu", 40, 30, 20))
	for i := range in.Servers {
		in.Servers[i].Capacity = map[string]int64{"cpu": 100}
	}
	in.Terms.Classes[0].Goals = append(in.Terms.Classes[0].Goals, terms.Goal{Name: "most moved group", Kind: terms.Movement, Tier: 9, Weight: 1, MostMoved: true})
	e, _ := explain.Shard(in, 2) // the smallest that relieves its server goes
	if len(e.Decisions) != 1 || !strings.Contains(fmt.Sprint(e.Decisions[0].Costs), "utilization of cpu -10 % of capacity") {
		t.Errorf("decisions %+v", e.Decisions)
	}
	if len(e.Notes) != 1 || !strings.HasPrefix(e.Notes[0], "most moved group: not among the costs") {
		t.Errorf("notes %q", e.Notes)
	}
	for plan := placement.Solve(in); len(plan.Moves) > 0; plan = placement.Solve(in) {
		var err error
		if in, err = apply(in, plan); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"primary s0000.kv: stays: the best other place, s0002.kv, costs more: utilization of cpu +10 % of capacity",
		"s0000.kv 1: here",
		"s0002.kv 2: utilization of cpu +10 % of capacity, balance of cpu +77.5 %, movement +40 cpu, balance of shards +63.6 %",
		"s0001.kv 3: utilization of cpu +20 % of capacity, balance of cpu +117 %, movement +40 cpu, balance of shards +63.6 %",
		"s0005.kv 4: region preference +2 places, latency +54 ms, movement +40 cpu",
		"s0004.kv 5: spread over regions +1 domain, region preference +1 place, latency +54 ms, utilization of cpu +40 % of capacity, balance of cpu +160 %, movement +45 cpu, balance of shards +106 %",
		"s0003.kv 0 held: it has a replica of the shard, or is to get one",
		"s0006.kv 0 fence: its expression is false for the server",
		"secondary s0003.kv: stays: the best other place, s0005.kv, costs more: latency +36 ms",
		"s0003.kv 1: here",
		"s0005.kv 2: latency +36 ms, movement +40 cpu",
		"s0004.kv 3: utilization of cpu +40 % of capacity, balance of cpu +160 %, movement +40 cpu, balance of shards +106 %",
		"s0002.kv 4: spread over regions +1 domain, latency +36 ms, utilization of cpu +10 % of capacity, balance of cpu +77.5 %, movement +40 cpu, balance of shards +63.6 %",
		"s0001.kv 5: spread over regions +1 domain, latency +36 ms, utilization of cpu +20 % of capacity, balance of cpu +117 %, movement +40 cpu, balance of shards +63.6 %",
		"s0000.kv 0 held: it has a replica of the shard, or is to get one",
		"s0006.kv 0 fence: its expression is false for the server",
	}
	if diff := cmp.Diff(want, told(t, in, 0)); diff != "" {
		t.Error(diff)
	}
}

// drawTerms draws policies of any kind of constraint and goal.
func drawTerms(t *rapid.T, in *placement.Input) {
	n := len(in.Servers)
	feeds := terms.Label{Key: "power", Values: []string{"a", "b"}}
	for range n {
		feeds.Domain = append(feeds.Domain, int32(rapid.IntRange(0, 1).Draw(t, "feed")))
	}
	in.Terms = &terms.Terms{Labels: []terms.Label{feeds}}
	over := func() terms.Over {
		if rapid.Bool().Draw(t, "by label") {
			return terms.Over{Label: 0}
		}
		return terms.Over{Width: locality.Domain(rapid.IntRange(1, 4).Draw(t, "over"))}
	}
	some := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	for c := range rapid.IntRange(1, 2).Draw(t, "classes") {
		var class terms.Class
		if some("fence") {
			f := terms.Fence{Name: "fence", Allows: []uint64{rapid.Uint64().Draw(t, "allows")}}
			class.Fences = append(class.Fences, f)
		}
		if some("spread") {
			class.Spreads = append(class.Spreads, terms.Spread{Name: "spread", Over: over(), AtMost: rapid.IntRange(1, 2).Draw(t, "at most")})
		}
		if c > 0 && len(in.Shards) > 1 && some("relation") {
			class.Relations = append(class.Relations, terms.Relation{Name: "relation", Over: over(), Not: rapid.Bool().Draw(t, "not"), Shards: []int32{0}})
		}
		for tier, g := range []terms.Goal{
			{Kind: terms.Preference, Primaries: rapid.Bool().Draw(t, "primaries"), Regions: []string{"a", "b"}},
			{Kind: terms.Latency, Clients: map[string]int64{"a": 60, "b": 40}},
			{Kind: terms.Utilization, Metric: "cpu", Percent: 50},
			{Kind: terms.Balance, Metric: "cpu", Percent: 10},
		} {
			if rapid.Bool().Draw(t, "goal") {
				g.Name, g.Tier, g.Weight = fmt.Sprint("goal ", tier), tier+1, 1
				class.Goals = append(class.Goals, g)
			}
		}
		in.Terms.Classes = append(in.Terms.Classes, class)
	}
	for i := range in.Shards {
		in.Terms.Of = append(in.Terms.Of, int32(i%len(in.Terms.Classes)))
	}
	if len(in.Terms.Of) > 0 {
		in.Terms.Of[0] = 0
	}
}

// Plans and explanations are made apart, and agree: a plan begins with a move to a server that is no worse for it than excluded, and once it is
// at rest no other place would be better for anybody, but for what is too little to be worth a move.
func TestExplanationsAgreeWithPlans(t *testing.T) {
	t.Parallel()
	begun, rested := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		in := inputs(rt)
		if rapid.Bool().Draw(rt, "policies") {
			drawTerms(rt, &in)
		}
		plan := placement.Solve(in)
		moves, broken := map[shard.Index]int{}, map[string]bool{} // what is broken may stay so
		for _, b := range tally.New(&in).Broken() {
			broken[b.Binds] = true
		}
		for _, m := range plan.Moves {
			moves[m.Shard]++
		}
		for _, m := range plan.Moves {
			if m.Kind == placement.Drop || m.Kind == placement.Promote || moves[m.Shard] > 1 {
				continue
			}
			begun++
			e, _ := explain.Shard(in, m.Shard)
			at := slices.IndexFunc(e.Places, func(p explain.Place) bool { return p.Server == m.From })
			if at < 0 {
				rt.Fatalf("%+v: no such place in %+v", m, e.Places)
			}
			for _, c := range e.Places[at].Candidates {
				if c.Server == m.To && c.Binds != "" && !broken[c.Binds] && !(m.Kind == placement.Grant && c.Holds != 0) {
					rt.Fatalf("%+v goes to a server excluded by %s: %s", m, c.Binds, c.Why)
				}
			}
		}
		if len(plan.Moves) > 0 {
			return
		}
		for i := range in.Shards {
			e, _ := explain.Shard(in, in.Shards[i].Index)
			for _, p := range e.Places {
				rested++
				if p.Better && strings.Contains(p.Verdict, "all shards together") {
					rt.Fatalf("shard %d on %s %s", i, p.Server, p.Verdict)
				}
			}
		}
	})
	if begun == 0 || rested == 0 {
		t.Errorf("%d moves and %d replicas at rest were looked at", begun, rested)
	}
}
