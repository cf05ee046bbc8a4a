package engine_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// TestLargeChangesPlacesWithMany: a replica gets to the server that it belongs to though there is room for it only if four others leave, for which there
// is room only where it was. One by one, nothing can be done.
func TestLargeChangesPlacesWithMany(t *testing.T) {
	p := &problem.Problem{
		Metrics: 1, Servers: 2, Replicas: 7, Groups: 7, Tiers: 1, During: []bool{false}, Unplaced: problem.Goal{Weight: 1},
		Capacity: []int64{10, 12}, Load: []int64{8, 2, 2, 2, 2, 2, 2}, Group: []int32{0, 1, 2, 3, 4, 5, 6}, Start: []int32{0, 1, 1, 1, 1, 1, 1},
		Exclusive: make([]bool, 7), Domains: [][]int32{{0, 1}},
		Affinities: []problem.Affinity{{Of: []int32{0, 1, 1, 1, 1, 1, 1}, Cost: [][]int64{{1, 0}, {0, 0}}, Scale: -1, Goal: problem.Goal{Weight: 1}}},
	}
	s, err := engine.NewSearch(p, engine.Options{Seed: 1, Explore: true, Horizon: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	s.Step(20_000)
	if places, broken, cost := s.Best(nil); broken != 0 || cost[0] != 0 {
		t.Errorf("%v breaks %d and costs %d", places, broken, cost[0])
	}
}
