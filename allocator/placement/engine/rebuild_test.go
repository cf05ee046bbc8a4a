package engine_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// TestRebuildMovesWhatNeedsEachOther: two replicas that need each other in one zone belong to another one. One by one, neither may go.
func TestRebuildMovesWhatNeedsEachOther(t *testing.T) {
	p := &problem.Problem{
		Metrics: 1, Servers: 4, Replicas: 2, Groups: 2, Tiers: 1, During: []bool{false}, Unplaced: problem.Goal{Weight: 1},
		Capacity: []int64{1, 1, 1, 1}, Load: []int64{1, 1}, Group: []int32{0, 1}, Start: []int32{0, 1},
		Exclusive: make([]bool, 2), Domains: [][]int32{{0, 0, 1, 1}},
		Relations:  []problem.Relation{{Group: 0, On: 1}, {Group: 1, On: 0}},
		Affinities: []problem.Affinity{{Of: []int32{0, 0}, Cost: [][]int64{{1, 0}}, Scale: -1, Goal: problem.Goal{Weight: 1}}},
	}
	s, err := engine.NewSearch(p, engine.Options{Seed: 1, Explore: true, Horizon: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	s.Step(100_000)
	if places, broken, cost := s.Best(nil); broken != 0 || cost[0] != 0 {
		t.Errorf("%v breaks %d and costs %d", places, broken, cost[0])
	}
}

// TestRebuildSums: what the search keeps is what the definitions say after each rebuild, whatever the weights are meanwhile; nothing that holds is broken, and
// there is room for everything also in transit.
func TestRebuildSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := draw(t, 24)
		if p.Replicas == 0 {
			t.Skip("nothing to take out")
		}
		s := mustNew(t, p, engine.Options{Seed: rapid.Uint64().Draw(t, "seed"), Explore: true, Horizon: 20_000})
		first := p.Start
		if p.First != nil {
			first = p.First
		}
		s.Step(int64(rapid.IntRange(1, 10_000).Draw(t, "steps")))
		if rapid.Bool().Draw(t, "sway") {
			s.Sway()
		}
		_, least, _ := s.Current()
		for range 200 {
			s.Rebuild()
			places, brokenNow, costNow := s.Current()
			if broken, cost := naive(p, places); broken != brokenNow || cost != costNow {
				t.Fatalf("the search has %d %v, and %v are %d %v", brokenNow, costNow, places, broken, cost)
			}
			if least = min(least, brokenNow); brokenNow > least {
				t.Fatalf("%d are broken, %d before", brokenNow, least)
			}
			mustBeAllowed(t, p, first, places)
			places, brokenNow, costNow = s.Best(nil)
			if broken, cost := naive(p, places); broken != brokenNow || cost != costNow {
				t.Fatalf("the best is %d %v, and %v are %d %v", brokenNow, costNow, places, broken, cost)
			}
		}
	})
}

// TestSwayCountsByOtherWeights: there is no assignment that costs nothing, so exploration does not end. With changed weights the search goes another way for a while, and what it keeps as its best is judged by the problem's own.
func TestSwayCountsByOtherWeights(t *testing.T) {
	p := &problem.Problem{Metrics: 2, Servers: 3, Replicas: 7, Groups: 7, Tiers: 1, During: []bool{false, false}, Exclusive: make([]bool, 7),
		Start: make([]int32, 7), Unplaced: problem.Goal{Weight: 1}, Capacity: slices.Repeat([]int64{1 << 30}, 6)}
	for r := range p.Replicas {
		p.Load, p.Group = append(p.Load, int64(r*r), int64(900-r*r)), append(p.Group, int32(r))
	}
	for m := range p.Metrics {
		p.Thresholds = append(p.Thresholds, problem.Threshold{Metric: m, Limit: slices.Repeat([]int64{[]int64{30, 2070}[m]}, 3), Goal: problem.Goal{Weight: 1}})
	}
	s, err := engine.NewSearch(p, engine.Options{Seed: 1, Explore: true, Horizon: 4_000})
	if err != nil {
		t.Fatal(err)
	}
	swayed := 0
	for range 2_000 {
		s.Step(50)
		_, _, by := s.Current()
		if s.Costs[1] != by[0] {
			swayed++
		}
		places, _, best := s.Best(nil)
		if _, cost := naive(p, places); cost != best {
			t.Fatalf("the best costs %v, expected %v", best, cost)
		}
	}
	if swayed == 0 {
		t.Error("weights never changed")
	}
}
