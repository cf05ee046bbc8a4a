package simulation_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/simulation"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const most = 1000

// app is an app at rest: servers round robin in regions, each shard with a primary and secondaries on the servers after it.
func app(servers, shards, replicas int, regions ...string) placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: replicas, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for i := range servers {
		s := placement.Server{ID: server(i), Accepts: true, Capacity: map[string]int64{"cpu": 1000}}
		if len(regions) > 0 {
			s.Locality = shard.Locality{Region: regions[i%len(regions)], Zone: "1"}
		}
		in.Servers = append(in.Servers, s)
	}
	load := map[string]int64{placement.MetricShards: 1, "cpu": 10} // shared, as the ledger's is
	for i := range shards {
		s := placement.Shard{Index: shard.Index(i), ID: shard.ID(fmt.Sprintf("%03d", i)), Load: load}
		for k := range replicas {
			r := placement.Replica{On: (i + k) % servers, To: -1, Role: shard.Secondary, Settled: true}
			if k == 0 {
				r.Role = shard.Primary
			}
			s.Replicas = append(s.Replicas, r)
		}
		in.Shards = append(in.Shards, s)
	}
	return in
}

func server(i int) shard.ServerID { return shard.ServerID(fmt.Sprintf("s%03d.kv", i)) }

func goOn() string { return "" }

// simulate runs, and sees to it that the input is left as it was.
func simulate(t *testing.T, in placement.Input, c simulation.Changes) simulation.Result {
	t.Helper()
	before := clone(in)
	r, err := simulation.Run(in, c, most, goOn)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Shards, in.Shards) + cmp.Diff(before.Servers, in.Servers); diff != "" {
		t.Fatalf("the input was changed: %s", diff)
	}
	if r.Stopped != "" {
		t.Fatalf("no rest: %s", r.Stopped)
	}
	return r
}

func clone(in placement.Input) placement.Input {
	in.Servers, in.Shards = slices.Clone(in.Servers), slices.Clone(in.Shards)
	for i := range in.Shards {
		in.Shards[i].Replicas = slices.Clone(in.Shards[i].Replicas)
		load := map[string]int64{}
		for metric, n := range in.Shards[i].Load {
			load[metric] = n
		}
		in.Shards[i].Load = load
	}
	return in
}

func kinds(r simulation.Result) map[placement.Kind]int {
	n := map[placement.Kind]int{}
	for _, round := range r.Rounds {
		for _, c := range round {
			n[c.Kind] += c.Moves
		}
	}
	return n
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	r := simulate(t, app(4, 16, 2), simulation.Changes{})
	if len(r.Rounds) > 0 || r.Moves != 0 || len(r.Blocked) > 0 || r.After.Unplaced != 0 || !cmp.Equal(r.Before, r.After) {
		t.Errorf("%+v", r)
	}
	if b := r.After.Balance[0]; b.Metric != "cpu" || b.Fullest.SharePercent != 100 || b.Emptiest.SharePercent != 100 || b.Fullest.CapacityPercent != 8 {
		t.Errorf("balance %+v", b)
	}
}

func TestADrainEmptiesTheServer(t *testing.T) {
	t.Parallel()
	r := simulate(t, app(4, 40, 1), simulation.Changes{Drain: []shard.ServerID{server(1)}})
	if r.Moves != 10 || r.Arrived != 10 || r.Moved["cpu"] != 100 || r.After.Leaving != 0 || r.After.Accepting != 3 || r.Before.Accepting != 4 {
		t.Errorf("%+v", r)
	}
	// 8 at a time leave a server.
	want := [][]simulation.Count{{{Kind: placement.Migrate, Reason: placement.Drain, Moves: 8}}, {{Kind: placement.Migrate, Reason: placement.Drain, Moves: 2}}}
	if diff := cmp.Diff(want, r.Rounds); diff != "" {
		t.Error(diff)
	}
}

func TestALostRegionIsServedByPromotions(t *testing.T) {
	t.Parallel()
	r := simulate(t, app(9, 36, 3, "eu", "us", "za"), simulation.Changes{LoseRegions: []string{"us"}})
	if r.PrimariesLost != 12 || r.ShardsLost != 0 || r.After.Unplaced != 0 || r.After.Primaries != 36 || r.After.Servers != 6 {
		t.Errorf("%+v", r)
	}
	if n := kinds(r); n[placement.Promote] < 12 || n[placement.Grant] != 0 {
		t.Errorf("moves %v", n)
	}
	for _, region := range r.After.Regions {
		if region.Name == "us" {
			t.Errorf("regions %+v", r.After.Regions)
		}
	}
	if first := r.Rounds[0]; !slices.ContainsFunc(first, func(c simulation.Count) bool {
		return c.Kind == placement.Promote && c.Reason == placement.Failover && c.Moves == 12
	}) {
		t.Errorf("first round %v", first)
	}
}

func TestEveryReplicaLost(t *testing.T) {
	t.Parallel()
	in := app(4, 8, 1, "eu", "us")
	in.Servers[0].Locality.Zone = "2"
	r := simulate(t, in, simulation.Changes{LoseZones: []shard.Locality{{Region: "us", Zone: "1"}}, LoseServers: []shard.ServerID{server(0)}})
	if r.PrimariesLost != 6 || r.ShardsLost != 6 || kinds(r)[placement.Grant] != 6 || r.After.Unplaced != 0 || r.After.Servers != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAddedServersGetTheirShare(t *testing.T) {
	t.Parallel()
	in := app(4, 80, 1, "eu")
	in.Servers[3].Capacity = map[string]int64{"cpu": 1009}
	r := simulate(t, in, simulation.Changes{Add: []simulation.Addition{{Count: 4, At: shard.Locality{Region: "us", Zone: "1"}}}})
	if r.After.Servers != 8 || r.After.FullCount != 0 {
		t.Errorf("%+v", r.After)
	}
	for _, b := range r.After.Balance {
		if b.Metric == placement.MetricShards && (b.Fullest.Load > 12 || b.Emptiest.Load < 8) {
			t.Errorf("balance %+v", b)
		}
		if b.Emptiest.Capacity == 1009 && b.Emptiest.Server != server(3) {
			t.Errorf("the median is not 1009: %+v", b)
		}
	}
	if us := r.After.Regions[1]; us.Name != "us" || us.Servers != 4 || us.Replicas < 30 {
		t.Errorf("regions %+v", r.After.Regions)
	}
}

func TestLoadsAndPolicy(t *testing.T) {
	t.Parallel()
	r := simulate(t, app(4, 80, 1), simulation.Changes{
		Loads: []simulation.Load{{Shard: "001", Metric: "cpu", Value: 400}}, Factors: []simulation.Factor{{Metric: "cpu", Millionths: 2_000_000}},
	})
	for _, b := range r.After.Balance {
		if b.Metric == "cpu" && (b.Fullest.Load > 600 || b.Emptiest.Load < 440) {
			t.Errorf("balance %+v", b)
		}
	}
	in := app(6, 12, 2, "eu", "us")
	policy := in.Policy
	policy.Replicas, policy.PreferRegions = 3, []string{"us"}
	r = simulate(t, in, simulation.Changes{Policy: &policy})
	if r.After.Replicas != 36 || r.After.Missing != 0 || r.After.InFirst != 12 || r.Before.InFirst != 0 || r.Before.Missing != 0 {
		t.Errorf("%+v", r)
	}
}

// What cannot be done is said, with the constraint and a shard.
func TestTheBindingConstraintIsNamed(t *testing.T) {
	t.Parallel()
	in := app(2, 6, 2)
	r := simulate(t, in, simulation.Changes{LoseServers: []shard.ServerID{server(0)}})
	if r.After.Missing != 6 || r.After.Unplaced != 0 || len(r.Blocked) != 1 {
		t.Fatalf("%+v", r)
	}
	b := r.Blocked[0]
	if b.Kind != placement.Add || b.Reason != placement.Replicas || b.Binds != "spread host" || b.Shards != 6 || len(b.Examples) != 6 || b.Why == "" {
		t.Errorf("%+v", b)
	}
	in = app(2, 6, 2)
	in.Policy.Replicas = 4
	if r = simulate(t, in, simulation.Changes{}); len(r.Blocked) != 1 || r.Blocked[0].Shards != 6 || r.After.Missing != 12 {
		t.Errorf("two replicas of each shard are missing: %+v", r)
	}
	r = simulate(t, app(3, 60, 1), simulation.Changes{Factors: []simulation.Factor{{Metric: "cpu", Millionths: 4_500_000}}, Drain: []shard.ServerID{server(2)}})
	if r.After.Leaving == 0 || r.After.FullCount == 0 || len(r.Blocked) == 0 || r.Blocked[0].Binds != "capacity.cpu" {
		t.Errorf("%+v", r)
	}
}

func TestMovesUnderWayAreDoneFirst(t *testing.T) {
	t.Parallel()
	in := app(3, 6, 1)
	in.Shards[0].Replicas[0].To, in.Shards[0].Pinned, in.Servers[0].Moves, in.Servers[1].Moves = 1, true, 8, 8
	in.Shards[1].Replicas[0] = placement.Replica{On: -1, To: -1, Role: shard.Primary}
	in.Shards[1].Pinned = true
	in.Shards[2].Replicas = nil
	in.Shards[2].Backoff = true
	r := simulate(t, in, simulation.Changes{Drain: []shard.ServerID{server(0)}})
	if r.After.Awaited != 1 || r.After.Leaving != 0 || r.After.Unplaced != 1 || r.Blocked[0].Binds != "quarantine" {
		t.Errorf("%+v", r)
	}
}

func TestChangesRefused(t *testing.T) {
	t.Parallel()
	secondaryOnly := placement.Policy{Replicas: 1}
	for name, c := range map[string]struct {
		simulation.Changes
		want string
	}{
		"drain":         {simulation.Changes{Drain: []shard.ServerID{"x"}}, `drain: expected a server of kv (s000.kv, s001.kv, s002.kv, s003.kv, s004.kv and 1 more), not "x"`},
		"drain twice":   {simulation.Changes{Drain: []shard.ServerID{server(0)}, LoseServers: []shard.ServerID{server(0)}}, "do not lose"},
		"lose server":   {simulation.Changes{LoseServers: []shard.ServerID{""}}, "lose_servers: expected a server of kv"},
		"lose region":   {simulation.Changes{LoseRegions: []string{"mars"}}, `lose_regions: expected a region of kv (eu, us), not "mars"`},
		"lose zone":     {simulation.Changes{LoseZones: []shard.Locality{{Region: "eu", Zone: "9"}}}, `lose_zones: expected a zone of kv (eu/1, us/1), not "eu/9"`},
		"add none":      {simulation.Changes{Add: []simulation.Addition{{}}}, "add_servers: expected 1 to 10000"},
		"add many":      {simulation.Changes{Add: []simulation.Addition{{Count: 6000}, {Count: 6000}}}, "add_servers: expected 1 to 10000"},
		"rack alone":    {simulation.Changes{Add: []simulation.Addition{{Count: 1, At: shard.Locality{Region: "eu", Rack: "r"}}}}, "a rack only in a zone"},
		"shard":         {simulation.Changes{Loads: []simulation.Load{{Shard: "x", Metric: "cpu"}}}, "loads: expected the id of a shard of kv"},
		"metric":        {simulation.Changes{Loads: []simulation.Load{{Shard: "000", Metric: "disk"}}}, `loads: expected a metric of kv (cpu) that is measured or declared, not "disk"`},
		"negative":      {simulation.Changes{Loads: []simulation.Load{{Shard: "000", Metric: "cpu", Value: -1}}}, "0 or more, not -1"},
		"factor":        {simulation.Changes{Factors: []simulation.Factor{{Metric: "cpu", Millionths: -1}}}, "load_factors: expected a factor of 0"},
		"factor shards": {simulation.Changes{Factors: []simulation.Factor{{Metric: "shards", Millionths: 1}}}, "load_factors: expected a metric"},
		"replication":   {simulation.Changes{Policy: &secondaryOnly}, "spec: expected the same replication"},
	} {
		_, err := simulation.Run(app(6, 6, 1, "eu", "us"), c.Changes, most, goOn)
		var bad *simulation.ChangeError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestItEnds(t *testing.T) {
	t.Parallel()
	c := simulation.Changes{Drain: []shard.ServerID{server(0)}}
	r, err := simulation.Run(app(2, 40, 1), c, 1, goOn)
	if err != nil || r.Stopped != "the most rounds (1) are over, and the next plan has 8 moves" || r.Moves != 8 || r.After.Leaving != 12 {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = simulation.Run(app(2, 40, 1), c, most, func() string { return "out of time" })
	if err != nil || r.Stopped != "out of time" || r.Moves != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := simulation.Run(placement.Input{App: "kv"}, simulation.Changes{Add: []simulation.Addition{{Count: 1}}}, most, goOn); err != nil || len(r.Notes) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestMakingRoomComesToRest: a random cluster in which one replica went to and fro for ever, as the next plan took back what a wave before had begun.
func TestMakingRoomComesToRest(t *testing.T) {
	in := app(3, 0, 2, "b")
	in.Policy.Spread, in.Policy.Moves, in.Policy.MovesPerServer, in.Policy.PreferRegions = locality.Host, 5, 3, []string{"a"}
	for i, capacity := range []map[string]int64{{"cpu": 11}, {"cpu": 58}, {"primaries": 1}} {
		in.Servers[i].Capacity = capacity
	}
	for i, s := range []struct {
		cpu                int64
		primary, secondary int
	}{{0, 0, 1}, {2, 2, 1}, {0, 0, 2}, {2, 1, 2}, {16, 1, 2}, {5, 1, 2}, {6, 1, 2}, {1, 0, 1}, {6, 2, -1}, {3, 0, 2}, {7, 0, 1}, {1, 1, 2}, {1, 1, 2}, {17, 1, 2}} {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: shard.ID(rune('a' + i)), Load: map[string]int64{placement.MetricShards: 1, "cpu": s.cpu},
			Replicas: []placement.Replica{{On: s.primary, To: -1, Role: shard.Primary, Settled: true}, {On: s.secondary, To: -1, Role: shard.Secondary, Settled: s.secondary >= 0}}})
	}
	if r := simulate(t, in, simulation.Changes{}); r.Moves > 20 {
		t.Errorf("%d moves", r.Moves)
	}
}
