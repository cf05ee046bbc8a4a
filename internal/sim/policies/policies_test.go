package policies

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Placement reads every policy, and places nothing where one forbids it: with room in one region only, a shard is placed where that is allowed.
func TestPlacementReadsThem(t *testing.T) {
	for _, p := range All() {
		if Of(p.Written).Name != p.Name {
			t.Errorf("%s: Of finds %q", p.Name, Of(p.Written).Name)
		}
		for _, region := range []string{"eu", "us", "ap"} {
			where := shard.Locality{Region: region}
			plan := new(Planner).Solve(placement.Input{
				App: "kv", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 9, MovesPerServer: 9, Written: p.Written},
				Servers: []placement.Server{{ID: "a.kv", Incarnation: 1, Locality: where, Accepts: true}},
				Shards:  []placement.Shard{{ID: "0", Load: map[string]int64{placement.MetricShards: 1}}},
			})
			if placed := len(plan.Moves) == 1; placed != p.Allows(where) {
				t.Errorf("%s: placed in %s: %t; %s", p.Name, region, placed, plan.Notes)
			}
		}
	}
}
