package placement_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// under puts all shards of an input under one policy.
func under(in placement.Input, class terms.Class, labels ...terms.Label) placement.Input {
	in.Terms = &terms.Terms{Classes: []terms.Class{class}, Of: make([]int32, len(in.Shards)), Labels: labels}
	return in
}

// except puts one shard under another policy.
func except(in placement.Input, i int, class terms.Class) placement.Input {
	in.Terms.Of[i] = int32(len(in.Terms.Classes))
	in.Terms.Classes = append(in.Terms.Classes, class)
	return in
}

// only is a fence around servers.
func only(servers ...int) terms.Fence {
	f := terms.Fence{Name: "fence", Allows: make([]uint64, 1)}
	for _, s := range servers {
		f.Allows[0] |= 1 << s
	}
	return f
}

func goal(g terms.Goal) terms.Class {
	g.Name, g.Weight, g.Tier = "goal", max(1, g.Weight), max(1, g.Tier)
	return terms.Class{Goals: []terms.Goal{g}}
}

// loosely is a goal that balances a metric, with nothing else to balance.
func loosely(g terms.Goal) terms.Class {
	c := goal(g)
	c.Goals = append(c.Goals, terms.Goal{Name: "any number", Kind: terms.Balance, Tier: 16, Weight: 1, Metric: placement.MetricShards, Percent: 1000})
	return c
}

func loads(in placement.Input, metric string, each ...int64) placement.Input {
	for i, l := range each {
		in.Shards[i].Load[metric] = l
	}
	return in
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	one, two := placement.Policy{Replicas: 1, Primary: true}, placement.Policy{Replicas: 2, Primary: true}
	readers, european := placement.Policy{Replicas: 2}, placement.Policy{Replicas: 1, Primary: true, PreferRegions: []string{"eu"}}
	zone, region := terms.Over{Width: locality.Zone}, terms.Over{Width: locality.Region}
	feeds := terms.Label{Key: "power", Domain: []int32{0, 0, 1, 1}, Values: []string{"a", "b"}}
	power := terms.Class{Spreads: []terms.Spread{{Name: "two feeds", Over: terms.Over{Label: 0}, AtLeast: 2}}}
	notBeside := func(over terms.Over, shards ...int32) terms.Class {
		return terms.Class{Relations: []terms.Relation{{Name: "not beside", Over: over, Not: true, Shards: shards}}}
	}
	beside := func(over terms.Over, shards ...int32) terms.Class {
		return terms.Class{Relations: []terms.Relation{{Name: "beside", Over: over, Shards: shards}}}
	}
	invalid := only(1)
	invalid.Invalid = []int{0}
	for _, c := range []struct {
		name  string
		in    placement.Input
		moves string
		binds []string
	}{
		{name: "a fence lets replicas on some servers only", in: under(city(one, "eu/1 eu/1 us/1", "", ""), terms.Class{Fences: []terms.Fence{only(2)}}),
			moves: "place 0:->2_ place 1:->2_"},
		{name: "and nowhere if there is no such server", in: under(city(one, "eu/1 eu/1", ""), terms.Class{Fences: []terms.Fence{only()}}),
			binds: []string{"fence: of 2 servers, fence excludes 2"}},
		{name: "an urgent shard that no policy lets anywhere keeps nobody waiting", in: func() placement.Input {
			in := except(under(city(one, "eu/1 eu/1", "", "0", "0", "0", "0"), terms.Class{}), 0, terms.Class{Fences: []terms.Fence{only()}, Relations: notBeside(zone, 1).Relations})
			in.Shards[0].Urgent = true
			return in
		}(), moves: "balance 1:_>1_ balance 2:_>1_", binds: []string{"fence: of 2 servers, fence excludes 2"}},
		{name: "a replica that no policy lets anywhere keeps the others from no better place", in: under(city(two, "eu/1 us/1", "1"),
			terms.Class{Fences: []terms.Fence{only(0)}, Spreads: []terms.Spread{{Name: "spread", Over: terms.Over{Label: 0}, AtMost: 1}}}, terms.Label{Key: "power", Domain: []int32{0, 0}, Values: []string{"a"}}),
			moves: "repair 0:1_>_", binds: []string{"fence: of 2 servers, fence excludes 1, spread excludes 1"}},
		{name: "two fences", in: under(city(one, "eu/1 eu/1 us/1", ""), terms.Class{Fences: []terms.Fence{only(0, 1), only(1, 2)}}), moves: "place 0:->1_"},
		{name: "what is outside comes in", in: under(city(one, "eu/1 us/1", "0"), terms.Class{Fences: []terms.Fence{only(1)}}), moves: "repair 0:_>1_"},
		{name: "where a fence has no value nobody is", in: under(city(one, "eu/1 us/1", "0"), terms.Class{Fences: []terms.Fence{invalid}}), moves: "repair 0:_>1_"},
		{name: "what cannot come in is told", in: under(city(one, "eu/1 us/1", "0"), terms.Class{Fences: []terms.Fence{only()}}),
			binds: []string{"fence: of 1 servers, fence excludes 1"}},
		{name: "a fence around one shard", in: except(under(city(one, "eu/1 us/1", "0", "0"), terms.Class{}), 1, terms.Class{Fences: []terms.Fence{only(1)}}), moves: "repair 1:_>1_"},
		{name: "at most one in a zone", in: under(city(two, "eu/1 eu/1 eu/2", ""), terms.Class{Spreads: []terms.Spread{{Name: "zones", Over: zone, AtMost: 1}}}),
			moves: "place 0:->_ replicas +0:->2_"},
		{name: "in at least two domains of a label", in: under(city(two, "eu/1 us/1 eu/1 eu/1", ""), power, feeds), moves: "place 0:->1_ replicas +0:->2_"},
		{name: "which repairs what is in one", in: under(city(two, "eu/1 us/1 eu/1 eu/1", "0 1s"), power, feeds), moves: "repair 0:_>2_"},
		{name: "at most two in a region", in: under(city(placement.Policy{Replicas: 3}, "eu/1 eu/2 eu/3 us/1", "0s 1s 2s"),
			terms.Class{Spreads: []terms.Spread{{Name: "regions", Over: region, AtMost: 2}}}), moves: "repair 0:_>3_"},
		{name: "not beside another shard", in: except(under(city(one, "eu/1 eu/1 eu/2", "0", ""), terms.Class{}), 1, notBeside(zone, 0)), moves: "place 1:->2_"},
		{name: "nor beside one that is leaving its place", in: except(under(city(one, "eu/1! eu/1 eu/2 eu/3", "0", ""), terms.Class{}), 1, notBeside(zone, 0)),
			moves: "place 1:->3_ drain 0:_>1_"},
		{name: "what is beside is parted", in: except(under(city(one, "eu/1 eu/1 eu/2", "0", "1"), terms.Class{}), 1, notBeside(zone, 0)), moves: "repair 1:1_>2_"},
		{name: "no two shards in a zone", in: under(city(one, "eu/1 eu/2 eu/3 eu/3", "", ""), terms.Class{Relations: []terms.Relation{{Name: "alone", Over: zone, Not: true, Each: true}}}),
			moves: "place 0:->_ place 1:->2_"},
		{name: "not where another app is", in: under(city(one, "eu/1 eu/1 eu/2", ""),
			terms.Class{Relations: []terms.Relation{{Name: "not beside batch", Over: zone, Not: true, With: "batch", On: []int32{1}}}}), moves: "place 0:->2_"},
		{name: "only where another app is", in: under(city(one, "eu/1 eu/2 eu/2", ""),
			terms.Class{Relations: []terms.Relation{{Name: "with names", Over: zone, With: "names", On: []int32{2}}}}), moves: "place 0:->2_"},
		{name: "which is nowhere", in: under(city(one, "eu/1 eu/2", ""), terms.Class{Relations: []terms.Relation{{Name: "with names", Over: zone, With: "names"}}}),
			binds: []string{"with names: of 2 servers, with names excludes 2"}},
		{name: "only beside another shard", in: except(under(city(one, "eu/1 eu/2 eu/2", "1", ""), terms.Class{}), 1, beside(zone, 0)), moves: "place 1:->2_"},
		{name: "which is not left behind", in: except(under(city(one, "eu/1! eu/1! eu/2", "0", "1"), terms.Class{}), 1, beside(zone, 0)),
			binds: []string{"beside: of 2 servers, beside excludes 1, accepts excludes 1", "beside: of 2 servers, beside excludes 1, accepts excludes 1"}},
		{name: "in a preferred region of the spec, where constraints leave a choice", in: except(under(city(european, "us/1 eu/1 eu/2", "1", ""), terms.Class{}), 1, notBeside(zone, 0)),
			moves: "place 1:->2_"},
		{name: "elsewhere where they leave none", in: except(under(city(european, "us/1 eu/1", "1", ""), terms.Class{}), 1, notBeside(zone, 0)), moves: "place 1:->_"},
		{name: "from where it goes to a preferred one", in: except(under(city(european, "us/1 eu/1 eu/2", "1", "0"), terms.Class{}), 1, notBeside(zone, 0)),
			moves: "prefer 1:_>2_"},
		{name: "and stays although others are emptier", in: except(under(city(european, "us/1 eu/1 eu/2", "1", "2"), terms.Class{}), 1, notBeside(zone, 0))},
		{name: "a pinned shard stays", in: under(city(one, "eu/1 eu/1", "0", "0", "0", "0"), terms.Class{Pins: []terms.Pin{{Name: "pin"}}})},
		{name: "and one that belongs on a server is placed there", in: under(city(readers, "eu/1 us/1 us/2", "", ""), terms.Class{Pins: []terms.Pin{{Name: "pin", Servers: []int32{2}}}}),
			moves: "replicas +0:->2_ replicas +0:->_ replicas +1:->2_ replicas +1:->_"},
		{name: "each shard has its preferred region", in: except(except(under(city(one, "eu/1 us/1", "1", "0"), terms.Class{}),
			0, goal(terms.Goal{Kind: terms.Preference, Regions: []string{"eu"}})), 1, goal(terms.Goal{Kind: terms.Preference, Regions: []string{"us"}})),
			moves: "prefer 0:1_>_ prefer 1:_>1_"},
		{name: "preferred regions above balance", in: under(city(one, "eu/1 us/1", "0", "0", "0", "0"), goal(terms.Goal{Kind: terms.Preference, Regions: []string{"eu"}}))},
		{name: "also above the number of primaries", in: under(city(two, "eu/1 eu/2 us/1 us/2", "0 2s", "0 3s", "1 2s", "1 3s"),
			goal(terms.Goal{Kind: terms.Preference, Primaries: true, Regions: []string{"eu"}}))},
		{name: "a replica in a preferred region takes over", in: under(city(two, "eu/1 eu/2 us/1 us/2", "2 0s", "3 1s", "2 1s"),
			goal(terms.Goal{Kind: terms.Preference, Primaries: true, Regions: []string{"eu"}})), moves: "prefer ^0:2_>_ prefer ^1:3_>1_ prefer ^2:2_>1_"},
		{name: "or one nearer to clients", in: under(apart(city(two, "eu/1 us/1 ap/1", "2 1s"), 200, 90, 300),
			goal(terms.Goal{Kind: terms.Latency, Primaries: true, Clients: map[string]int64{"us": 1}})), moves: "prefer ^0:2_>1_"},
		{name: "and above even numbers of primaries", in: under(city(two, "eu/1 us/1", "0 1s", "0 1s", "0 1s", "0 1s"),
			goal(terms.Goal{Kind: terms.Preference, Primaries: true, Regions: []string{"eu"}}))},
		{name: "which are evened out within a region", in: under(city(two, "eu/1 eu/2", "0 1s", "0 1s", "0 1s", "0 1s"),
			goal(terms.Goal{Kind: terms.Preference, Primaries: true, Regions: []string{"eu"}})), moves: "balance ^0:_>1_ balance ^1:_>1_"},
		{name: "near to clients", in: under(apart(city(one, "eu/1 us/1 ap/1", "2"), 200, 90, 300), goal(terms.Goal{Kind: terms.Latency, Clients: map[string]int64{"eu": 9, "us": 1}})),
			moves: "prefer 0:2_>_"},
		{name: "apart as far as it goes", in: under(city(readers, "eu/1 eu/1 eu/2", "0s 1s"), goal(terms.Goal{Kind: terms.Apart, Spread: terms.Spread{Over: zone, AtLeast: 2}})),
			moves: "spread 0:_>2_"},
		{name: "below the threshold", in: under(capacity(city(one, "eu/1 eu/1", "0", "0", "0"), 4, 4), goal(terms.Goal{Kind: terms.Utilization, Metric: placement.MetricShards, Percent: 50})),
			moves: "balance 0:_>1_"},
		{name: "in parts of the capacity, whatever the unit", in: func() placement.Input {
			in := under(loads(loads(city(one, "eu/1 eu/1", "0", "0", "0", "0"), "memory", 300_000_000, 300_000_000), "cpu", 0, 0, 4, 5), terms.Class{Goals: []terms.Goal{
				{Name: "memory", Kind: terms.Utilization, Tier: 1, Weight: 1, Metric: "memory", Percent: 50}, {Name: "cpu", Kind: terms.Utilization, Tier: 1, Weight: 1, Metric: "cpu", Percent: 50}}})
			in.Terms.AppMoves = 1
			for i := range in.Servers {
				in.Servers[i].Capacity = map[string]int64{"memory": 1_000_000_000, "cpu": 10}
			}
			return in
		}(), moves: "balance 2:_>1_"},
		{name: "moves of a group are counted together", in: func() placement.Input {
			class := terms.Class{Group: "a", Goals: []terms.Goal{{Name: "balance", Kind: terms.Balance, Tier: 1, Weight: 1, Metric: placement.MetricShards},
				{Name: "group", Kind: terms.Movement, Tier: 2, Weight: 1, MostMoved: true}}}
			in := under(city(one, "eu/1 eu/1", "0", "0", "0", "0"), class)
			class.Group = "b"
			return except(except(in, 2, class), 3, class)
		}(), moves: "balance 0:_>1_ balance 2:_>1_"},
		{name: "servers that are paid for are few", in: under(city(one, "eu/1 eu/1", "0", "1"), goal(terms.Goal{Kind: terms.Cost, Price: []int64{5, 9}})), moves: "prefer 1:1_>_"},
		{name: "at prices and weights as high as they may be", in: under(city(one, "eu/1 eu/1", "0", "1"),
			goal(terms.Goal{Kind: terms.Cost, Weight: 1_000_000, Price: []int64{1e12 - 1, 1e12}})), moves: "prefer 1:1_>_"},
		{name: "and as far apart", in: under(apart(city(one, "eu/1 us/1 ap/1", "2"), 2e8, 90, 300),
			goal(terms.Goal{Kind: terms.Latency, Weight: 1_000_000, Clients: map[string]int64{"eu": 1_000_000}})), moves: "prefer 0:2_>_"},
		{name: "balance within each region", in: under(loads(city(one, "eu/1 eu/1 us/1", "0", "0", "0", "0"), "cpu", 10, 10, 10, 10),
			goal(terms.Goal{Kind: terms.Balance, Metric: "cpu", Regional: true, Percent: 10})), moves: "balance 0:_>1_ balance 1:_>1_"},
		{name: "the sum of squares counts each server", in: under(loads(city(one, "eu/1 eu/1 us/1 us/1", "0", "1", "1", "1"), "cpu", 100, 30, 30, 30),
			loosely(terms.Goal{Kind: terms.Balance, Metric: "cpu", Percent: 10})), moves: "balance 1:1_>3_"},
		{name: "the largest only the fullest", in: under(loads(city(one, "eu/1 eu/1 us/1 us/1", "0", "1", "1", "1"), "cpu", 100, 30, 30, 30),
			loosely(terms.Goal{Kind: terms.Balance, Metric: "cpu", Percent: 10, Largest: true}))},
		{name: "which becomes as low as it can", in: under(loads(city(one, "eu/1 eu/1 us/1 us/1", "0", "0", "1", "1", "1"), "cpu", 80, 20, 30, 30, 30),
			loosely(terms.Goal{Kind: terms.Balance, Metric: "cpu", Percent: 10, Largest: true})), moves: "balance 0:_>3_ balance 2:1_>_"},
		{name: "or the fullest of each region", in: under(loads(city(one, "eu/1 eu/1 us/1 us/1", "0", "1", "2", "2", "2"), "cpu", 90, 90, 30, 30, 30),
			loosely(terms.Goal{Kind: terms.Balance, Metric: "cpu", Percent: 10, Largest: true, Regional: true})), moves: "balance 2:2_>3_"},
		{name: "many take over, each a few", in: under(city(two, "eu/1 eu/1 eu/1 eu/1", "0 1s", "0 1s", "1 2s", "1 2s", "2 3s", "2 3s", "3 0s", "3 0s"),
			goal(terms.Goal{Kind: terms.Failover, Spread: terms.Spread{Over: terms.Over{Width: locality.Host}}})), moves: "prefer 0:1_>3_ prefer 2:2_>_ prefer 4:3_>1_ prefer 6:_>2_"},
		{name: "also of replicas that are all alike", in: under(city(readers, "eu/1 eu/1 eu/2 eu/2 eu/3 eu/3", "0s 2s", "1s 3s", "0s 2s", "1s 2s"),
			goal(terms.Goal{Kind: terms.Failover, Spread: terms.Spread{Over: terms.Over{Width: locality.Zone}}})), moves: "prefer 0:_>5_ prefer 1:1_>4_ balance 2:2_>3_"},
		{name: "traffic with clients is paid for", in: under(loads(city(one, "eu/1 us/1 ap/1", "2", "2"), "traffic", 500, 500), goal(terms.Goal{Kind: terms.Cost, Metric: "traffic",
			Clients: map[string]int64{"eu": 3, "us": 1}, Traffic: []terms.Route{{From: "eu", To: "us", Cost: 9}, {From: "us", To: "eu", Cost: 2}, {From: "ap", To: "eu", Cost: 9}}})),
			moves: "prefer 0:2_>1_ prefer 1:2_>1_"},
		{name: "so much that another server is worth it", in: except(under(loads(city(one, "eu/1 us/1", "0", "1"), "traffic", 0, 3000), goal(terms.Goal{Kind: terms.Cost, Metric: "traffic",
			Price: []int64{5, 9}, Clients: map[string]int64{"us": 1}, Traffic: []terms.Route{{From: "eu", To: "us", Cost: 4}}})), 0, terms.Class{Fences: []terms.Fence{only(0)}})},
		{name: "or not", in: under(loads(city(one, "eu/1 us/1", "0", "1"), "traffic", 0, 2000), goal(terms.Goal{Kind: terms.Cost, Metric: "traffic",
			Price: []int64{5, 9}, Clients: map[string]int64{"us": 1}, Traffic: []terms.Route{{From: "eu", To: "us", Cost: 4}}})), moves: "prefer 1:1_>_"},
		{name: "traffic of secondaries with their primary", in: under(loads(city(two, "eu/1 eu/1 us/1 ap/1", "0 2s", "3 1s"), "traffic", 10, 10), goal(terms.Goal{Kind: terms.Cost, Metric: "traffic",
			Traffic: []terms.Route{{From: "eu", To: "us", Cost: 5000}, {From: "ap", To: "eu", Cost: 5000}}})), moves: "prefer 0:2_>3_ prefer 1:1_>2_"},
		{name: "near to the nearest replica", in: under(apart(city(readers, "eu/1 eu/2 us/1 ap/1", "0s 1s"), 200, 90, 300), goal(terms.Goal{Kind: terms.Latency, Clients: map[string]int64{"eu": 9, "us": 1}})),
			moves: "prefer 0:_>2_"},
		{name: "not each to all clients", in: under(apart(city(readers, "eu/1 eu/2 us/1 ap/1", "0s 2s"), 200, 90, 300), goal(terms.Goal{Kind: terms.Latency, Clients: map[string]int64{"eu": 9, "us": 1}}))},
		{name: "no more moves than the policy lets be open", in: func() placement.Input {
			in := under(city(one, "eu/1 eu/1", "0", "0", "0", "0"), terms.Class{})
			in.Terms.AppMoves = 1
			return in
		}(), moves: "balance 0:_>1_"},
		{name: "moves cost more than balance", in: under(city(one, "eu/1 eu/1", "0", "0", "0", "0"), goal(terms.Goal{Kind: terms.Movement}))},
		{name: "unless they are between two regions only", in: under(city(one, "eu/1 eu/1 us/1", "0", "0", "0"), terms.Class{Goals: []terms.Goal{
			{Name: "balance", Kind: terms.Balance, Tier: 1, Weight: 1, Metric: placement.MetricShards},
			{Name: "moves", Kind: terms.Movement, Tier: 2, Weight: 1, Moves: []terms.Route{{From: "eu", To: "us", Cost: 5}}}}}),
			moves: "balance 0:_>1_ balance 1:_>2_"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plan, after := solved(t, c.in, c.moves, c.binds)
			if again := placement.Solve(after); len(again.Moves) > 0 && c.in.Terms.AppMoves == 0 {
				t.Errorf("solving the result moves %s", short(again))
			}
			for _, n := range plan.Notes {
				t.Errorf("note %q", n)
			}
		})
	}
}

// Where the engine refuses a problem, what it alone could place has no place, and the rest is planned without it.
func TestProblemsThatAreRefused(t *testing.T) {
	t.Parallel()
	const most = math.MaxInt64
	in := under(loads(city(placement.Policy{Replicas: 1, Primary: true}, "eu/1 eu/2", "", "0", "0", "1"), "cpu", most, most, most, most), terms.Class{},
		terms.Label{Key: "power", Domain: []int32{0, 1}, Values: []string{"a", "b"}})
	in = except(in, 0, terms.Class{Spreads: []terms.Spread{{Name: "feeds", Over: terms.Over{Label: 0}, AtMost: 1}}})
	plan := placement.Solve(in)
	if short(plan) != "" || len(plan.Decisions) != 1 || plan.Decisions[0].Binds != "problem" || plan.Decisions[0].To != "" {
		t.Errorf("%s, %+v", short(plan), plan.Decisions)
	}
	if !slices.ContainsFunc(plan.Notes, func(n string) bool { return strings.Contains(n, "overflow") }) {
		t.Errorf("notes %q", plan.Notes)
	}
}

func TestUnservedGoalsAreNoted(t *testing.T) {
	t.Parallel()
	traffic := goal(terms.Goal{Kind: terms.Cost, Metric: "traffic", Traffic: []terms.Route{{From: "eu", To: "us", Cost: 1}}})
	for want, in := range map[string]placement.Input{
		"":                  under(loads(build(2, 0), "traffic", 5), traffic),
		"a load of traffic": under(build(2, 0), traffic),
		"the app has none":  under(loads(city(placement.Policy{Replicas: 2}, "eu/1 us/1", "0s 1s"), "traffic", 5), traffic),
	} {
		if notes := placement.Solve(in).Notes; want == "" && len(notes) > 0 || want != "" && (len(notes) != 1 || !strings.HasSuffix(notes[0], want)) {
			t.Errorf("%q, expected %q", notes, want)
		}
	}
}
