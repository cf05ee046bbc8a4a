package simulation_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/simulation"
)

// Goals and constraints are those of the policy that holds after the changes, before and after; what moves is counted for the goal that counts moves.
func TestFiguresOfGoals(t *testing.T) {
	t.Parallel()
	in := app(4, 8, 1, "eu", "us")
	class := terms.Class{
		Group:  "storage",
		Fences: []terms.Fence{{Name: "fence", Allows: []uint64{0b1101}}},
		Goals: []terms.Goal{
			{Name: "region preference", Kind: terms.Preference, Tier: 1, Weight: 1, Primaries: true, Regions: []string{"eu", "us"}},
			{Name: "balance of cpu", Kind: terms.Balance, Tier: 2, Weight: 1, Metric: "cpu", Regional: true, Percent: 10},
			{Name: "movement", Kind: terms.Movement, Tier: 5, Weight: 1, Metric: "cpu"},
			{Name: "most moved group", Kind: terms.Movement, Tier: 6, Weight: 1, MostMoved: true},
		},
	}
	r := simulate(t, in, simulation.Changes{Terms: func(in *placement.Input) []string {
		in.Terms = &terms.Terms{Classes: []terms.Class{class}, Of: make([]int32, len(in.Shards))}
		return nil
	}})
	var got []string
	for _, g := range r.Goals {
		got = append(got, fmt.Sprintf("%d %s: %s, %s", g.Tier, g.Goal, g.Unit.Text(g.Before), g.Unit.Text(g.After)))
	}
	want := []string{"1 region preference: 4 places, 0 places", "2 balance of cpu: 0 %, 0 %", "5 movement: 0 cpu, 40 cpu", "6 most moved group: 0 moves, 4 moves", "18 balance of shards: 0 %, 70 %"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(r.Before.Broken) != 1 || r.Before.Broken[0].Binds != "fence" || r.Before.Broken[0].Count != 2 || len(r.After.Broken) != 0 {
		t.Errorf("broken %+v, then %+v", r.Before.Broken, r.After.Broken)
	}
	if r.MostShard != "001" || r.MostMoves != 1 || r.MostGroup != "storage" || r.GroupMoves != 4 {
		t.Errorf("shard %s moves %d times, group %s %d", r.MostShard, r.MostMoves, r.MostGroup, r.GroupMoves)
	}
	var regions []string
	for _, b := range r.After.Balance {
		regions = append(regions, fmt.Sprintf("%s %s %d %d %d", b.Metric, b.Region, b.Servers, b.Mean, b.Deviation))
	}
	if diff := cmp.Diff([]string{"cpu  4 20 1000", "cpu eu 2 40 0", "shards  4 2 1000"}, regions); diff != "" {
		t.Error(diff)
	}
}
