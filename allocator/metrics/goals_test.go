package metrics_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmanager/shardmanager/allocator/metrics"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/simulation"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// lopsided is an app all of whose shards are on the first of its servers.
func lopsided(servers, shards int) placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 64, TolerancePercent: 10}}
	for i := range servers {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("s%d.kv", i)), Accepts: true})
	}
	one := map[string]int64{placement.MetricShards: 1}
	for i := range shards {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: shard.ID(fmt.Sprint(i)), Load: one,
			Replicas: []placement.Replica{{On: 0, To: -1, Role: shard.Primary, Settled: true}}})
	}
	return in
}

// What goals cost before and after the last plan is told while this allocator leads, and of apps that are there.
func TestGoals(t *testing.T) {
	r := prometheus.NewRegistry()
	m := metrics.New(r, leader)
	in := lopsided(2, 40)
	m.Reached(in, placement.Solve(in))
	m.Wait()
	want := `
# HELP shardmanager_allocator_goal_cost_after What a goal of an app will cost once the moves of its last plan are done, in its unit, by app, tier, goal and unit.
# TYPE shardmanager_allocator_goal_cost_after gauge
shardmanager_allocator_goal_cost_after{app="kv",goal="balance of shards",tier="-",unit="permille"} 0
# HELP shardmanager_allocator_goal_cost_before What a goal of an app cost when its last plan was made, in its unit, by app, tier, goal and unit.
# TYPE shardmanager_allocator_goal_cost_before gauge
shardmanager_allocator_goal_cost_before{app="kv",goal="balance of shards",tier="-",unit="permille"} 925
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "shardmanager_allocator_goal_cost_before", "shardmanager_allocator_goal_cost_after"); err != nil {
		t.Error(err)
	}
	count := func() int {
		n, err := testutil.GatherAndCount(r, "shardmanager_allocator_goal_cost_before")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	m.Forget("kv")
	if n := count(); n != 0 {
		t.Errorf("%d goals of an app that is not there any more", n)
	}
	m.Reached(in, placement.Plan{App: "kv"})
	m.Ends() // it may be counted still
	m.Wait()
	if n := count(); n != 0 {
		t.Errorf("%d goals are told by who does not lead", n)
	}
	class := terms.Class{}
	for tier := range 16 {
		for i := range 4 {
			class.Goals = append(class.Goals, terms.Goal{Name: fmt.Sprintf("goal %d", i), Kind: terms.Preference, Tier: tier + 1, Weight: 1, Regions: []string{"eu"}})
		}
	}
	in.Terms = &terms.Terms{Classes: []terms.Class{class}, Of: make([]int32, len(in.Shards))}
	m.Wait()
	m.Reached(in, placement.Plan{App: "kv"})
	m.Wait()
	if n := count(); n != 32 {
		t.Errorf("%d goals of an app are told, not the 32 most important", n)
	}
}

// BenchmarkReached is what it costs to count the goals of a large app.
func BenchmarkReached(b *testing.B) {
	in := lopsided(1000, 100_000)
	for i := range in.Shards {
		in.Shards[i].Replicas[0].On = i % len(in.Servers)
	}
	for b.Loop() {
		simulation.Reached(in, placement.Plan{App: "kv"})
	}
}
