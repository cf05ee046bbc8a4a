package allocator

import (
	"slices"
	"strings"
	"testing"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// replicatedSpec is an app with a primary and secondaries in zones of their own.
func replicatedSpec(replicas uint32) *pb.AppSpec {
	spec := appSpec("kv", 2)
	spec.Replication, spec.Replicas = pb.Replication_REPLICATION_PRIMARY_SECONDARY, replicas
	spec.Placement = &pb.Placement{Spread: pb.FaultDomain_FAULT_DOMAIN_ZONE}
	return spec
}

// holders counts the agents that hold a shard in a phase.
func holders(id string, phase pb.ShardPhase, agents ...*testAgent) (n int) {
	for _, a := range agents {
		if a.phase(id) == phase {
			n++
		}
	}
	return n
}

// A spec that asks for more replicas than there are zones, and for regions that nobody is in: what can be placed is, the rest is counted by
// the status and named, with the reason, by explain. It is placed as soon as there is a server for it.
func TestMoreReplicasThanPlaces(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	n := c.start("a1")
	c.leader(n)
	spec := replicatedSpec(4)
	spec.RegionReplicas = map[string]uint32{"mars": 1}
	spec.Placement.PreferredRegions = []string{"venus", "r1"}
	if _, err := n.admin.CreateApp(t.Context(), &pb.CreateAppRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	agents := []*testAgent{c.agent("x", "kv", 1, n), c.agent("y", "kv", 2, n)}
	whole := func(secondaries int) func() bool {
		return func() bool {
			for _, id := range []string{"0", "1"} {
				if holders(id, pb.ShardPhase_SHARD_PHASE_PRIMARY, agents...) != 1 || holders(id, pb.ShardPhase_SHARD_PHASE_SECONDARY, agents...) != secondaries {
					return false
				}
			}
			return true
		}
	}
	lacking := func(shards uint32) func() bool {
		return func() bool {
			status, err := n.admin.GetStatus(t.Context(), new(pb.GetStatusRequest))
			return err == nil && status.Lacking == shards && status.Unplaced == 0
		}
	}
	eventually(t, "two replicas of each", whole(1))
	eventually(t, "the status says that replicas are lacking", lacking(2))
	var e *pb.ExplainResponse
	eventually(t, "explain names the two replicas that are lacking", func() bool { // not while a promotion of the shard is under way
		var err error
		if e, err = n.admin.Explain(t.Context(), &pb.ExplainRequest{App: "kv", Shard: "0"}); err != nil {
			t.Fatal(err)
		}
		var named []string
		for _, p := range e.Proposals {
			if p.Kind == pb.MoveKind_MOVE_KIND_ADD && p.To == "" {
				named = append(named, p.Binds+": "+p.Why)
			}
		}
		return len(named) == 2 && strings.Contains(named[0], "spread zone: 4 replicas wanted, 2 zones have servers")
	})
	for _, region := range []string{"preferred region venus", "region_replicas: region mars"} {
		if !slices.Contains(e.Notes, region+": no server is in it") {
			t.Errorf("notes %q do not name %s", e.Notes, region)
		}
	}
	agents = append(agents, c.agent("z", "kv", 3, n))
	eventually(t, "three replicas of each", whole(2))
}
