package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// fenced says for each shard which servers it may be on.
func fenced(in placement.Input, servers ...[]int) placement.Input {
	in = under(in, terms.Class{})
	for i, list := range servers {
		in = except(in, i, terms.Class{Fences: []terms.Fence{only(list...)}})
		in.Shards[i].ID = shard.ID(fmt.Sprint(i))
	}
	return in
}

// waiting are the moves of later waves.
func waiting(plan placement.Plan) (list []string) {
	for _, d := range plan.Decisions {
		if d.Wave > 1 {
			list = append(list, fmt.Sprintf("%d: %d %s>%s", d.Wave, d.Shard, strings.TrimSuffix(string(d.From), ".kv"), strings.TrimSuffix(string(d.To), ".kv")))
		}
	}
	return list
}

// What a constraint demands and only room forbids is done wave by wave, each with a plan of its own, until all hold.
func TestWaves(t *testing.T) {
	t.Parallel()
	one := placement.Policy{Replicas: 1, Primary: true}
	// homesick is two shards, each on the other's preferred server, full as to what is charged on one server only while a move is under way.
	homesick := func(places string) placement.Input {
		in := loads(city(one, places, "0", "1"), "cpu", 10, 10)
		for i := range in.Servers {
			in.Servers[i].Capacity = map[string]int64{"cpu": 10}
		}
		in = except(under(in, goal(terms.Goal{Kind: terms.Preference, Regions: []string{"us"}})), 1, goal(terms.Goal{Kind: terms.Preference, Regions: []string{"eu"}}))
		in.Terms.Metrics = []terms.Metric{{Name: "cpu"}}
		return in
	}
	// needing is two shards on servers that are to be left. The second is only in a zone where the first is and, if both do, the other way round.
	needing := func(both int, shards ...string) placement.Input {
		in := under(city(placement.Policy{Replicas: 2}, "eu/1! eu/1! eu/1! eu/2 eu/2 eu/2", shards...), terms.Class{})
		for i, other := range []int32{1, 0} {
			if i+both < 2 { // the first needs nobody
				continue
			}
			in = except(in, i, terms.Class{Relations: []terms.Relation{{Name: "beside", Over: terms.Over{Width: locality.Zone}, Shards: []int32{other}}}})
		}
		return in
	}
	for _, c := range []struct {
		name  string
		in    placement.Input
		moves []string // plan by plan
		waits []string // of the first
		notes string
	}{
		{name: "one makes room for another", in: fenced(capacity(city(one, "eu/1 eu/1 eu/1", "0", "1"), 1, 1, 1), []int{1}, []int{1, 2}),
			moves: []string{"repair 1:1_>2_", "repair 0:_>1_"}, waits: []string{"2: 0 s0000>s0001"}},
		{name: "two change places through a spare one", in: fenced(capacity(city(one, "eu/1 eu/1 eu/1", "0", "1"), 1, 1, 1), []int{1}, []int{0, 2}),
			moves: []string{"repair 1:1_>2_", "repair 0:_>1_"}, waits: []string{"2: 0 s0000>s0001"}},
		{name: "which is not for good", in: fenced(capacity(city(one, "eu/1 eu/1 eu/1", "0", "1", "2"), 1, 1, 2), []int{1}, []int{0, 2}, []int{2}),
			moves: []string{"repair 1:1_>2_", "repair 0:_>1_", "balance 1:2_>_"}, waits: []string{"2: 0 s0000>s0001"}},
		{name: "without one nobody moves", in: fenced(capacity(city(one, "eu/1 eu/1", "0", "1"), 1, 1), []int{1}, []int{0}),
			notes: "shard 0 cannot go from s0000.kv to s0001.kv, as no spare place makes room: capacity.shards"},
		{name: "also what takes room on one server only", in: homesick("eu/1 us/1 ap/1"), moves: []string{"repair 0:_>2_", "prefer 1:1_>_ prefer 0:2_>1_"},
			waits: []string{"2: 1 s0001>s0000", "2: 0 s0002>s0001"}},
		{name: "who needs another follows one of its replicas, and the other one follows last", in: needing(1, "0s 1s", "1s 2s"), moves: []string{"drain 0:_>3_", "drain 1:1_>4_", "drain 1:2_>5_", "drain 0:1_>5_"}},
		{name: "two that need each other cannot leave one by one", in: needing(2, "0s 1s", "1s 2s")},
		{name: "which takes a spare place too", in: homesick("eu/1 us/1"), notes: "shard  cannot go from s0000.kv to s0001.kv, as no spare place makes room: capacity.cpu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := c.in
			for round := 0; ; round++ {
				plan := placement.Solve(in)
				if round == 0 && !slices.Equal(waiting(plan), c.waits) {
					t.Errorf("%q wait, expected %q", waiting(plan), c.waits)
				}
				if round == 0 && !strings.Contains(strings.Join(plan.Notes, "; "), c.notes) {
					t.Errorf("notes %q, expected %q", plan.Notes, c.notes)
				}
				if round == len(c.moves) {
					if short(plan) != "" {
						t.Errorf("at rest: %q", short(plan))
					}
					return
				}
				if short(plan) != c.moves[round] {
					t.Fatalf("plan %d: %q, expected %q", round, short(plan), c.moves[round])
				}
				next, err := apply(in, plan)
				if err != nil {
					t.Fatal(err)
				}
				in = next
			}
		})
	}
}

// Shards that are fenced in, on servers that are full: every prefix of every plan keeps the constraints, no shard goes where it must not be, and plans
// come to rest.
func TestFencedPlansComeToRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := inputs(t)
		in.Policy.Moves, in.Policy.MovesPerServer = max(4, in.Policy.Moves), max(4, in.Policy.MovesPerServer)
		var all []int
		for i := range in.Servers {
			in.Servers[i].Capacity[placement.MetricShards] = rapid.Int64Range(1, 4).Draw(t, "shards")
			all = append(all, i)
		}
		var fences [][]int
		for range min(len(in.Shards), 8) {
			fences = append(fences, rapid.Permutation(all).Draw(t, "fence")[:rapid.IntRange(0, len(all)).Draw(t, "wide")])
		}
		if len(all) > 0 {
			in = fenced(in, fences...)
		}
		for round := 0; ; round++ {
			plan := placement.Solve(in)
			for _, m := range plan.Moves {
				if to := slices.IndexFunc(in.Servers, func(s placement.Server) bool { return s.ID == m.To }); m.Kind == placement.Migrate && int(m.Shard) < len(fences) &&
					!slices.Contains(fences[m.Shard], to) {
					t.Fatalf("shard %d goes to server %d, outside of %v", m.Shard, to, fences[m.Shard])
				}
			}
			if len(plan.Moves) == 0 {
				break
			}
			if round > 200 {
				t.Fatalf("still moving after %d solves: %s", round, short(plan))
			}
			next, err := apply(in, plan)
			if err != nil {
				t.Fatal(err)
			}
			in = next
		}
	})
}
