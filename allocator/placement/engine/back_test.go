package engine_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// TestPuttingBackBreaksAgain: a replica that leaves a full server, by the first step of a chain that comes to nothing, breaks it again as it comes back.
func TestPuttingBackBreaksAgain(t *testing.T) {
	p := &problem.Problem{Metrics: 2, Servers: 4, Replicas: 4, Groups: 1, Capacity: []int64{0, 0, 0, 1, 0, 0, 0, 0}, During: []bool{false, false},
		Load: []int64{0, 0, 0, 0, 0, 1, 0, 0}, Group: make([]int32, 4), Start: []int32{0, -1, 0, 1}, Pinned: []bool{true, true, false, false},
		Domains: [][]int32{make([]int32, 4)}, Exclusive: []bool{true}, Tiers: 2, Unplaced: problem.Goal{Weight: 1},
		Balances: []problem.Balance{{Share: []int64{0, 0, 0, 1}, Slack: make([]int64, 4), Unit: []int64{1, 1, 1, 1}, Free: make([]int64, 4),
			Goal: problem.Goal{Weight: 1, Tier: 1}}},
		Movement: problem.Movement{Replica: []int64{0, 0, 1, 0}, ReplicaWeight: 1, Route: make([]uint32, 16)}}
	s, err := engine.NewSearch(p, engine.Options{Seed: 1, Explore: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		s.Step(1)
		places, broken, cost := s.Current()
		if wantBroken, wantCost := naive(p, places); broken != wantBroken || cost != wantCost {
			t.Fatalf("%v: %d %v, expected %d %v", places, broken, cost, wantBroken, wantCost)
		}
	}
}
