package app

import (
	"strings"
	"testing"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestChanges(t *testing.T) {
	yes, no := true, false
	from := &pb.AppSpec{Name: "kv", ResourceVersion: 3, Replicas: 2, Exclusive: &yes, Placement: &pb.Placement{PreferredRegions: []string{"eu"}, MaxConcurrentMoves: 4, BalanceTolerancePercent: 5}}
	to := &pb.AppSpec{Name: "kv", ResourceVersion: 4, Replicas: 3, Exclusive: &no, Placement: &pb.Placement{PreferredRegions: []string{"us"}, MaxConcurrentMoves: 8, BalanceTolerancePercent: 5}, Labels: map[string]string{"team": "a"}}
	got := strings.Join(changes("", from.ProtoReflect(), to.ProtoReflect()), "\n")
	for _, want := range []string{"  replicas: 2 → 3", "  exclusive: true → false", "  placement.max_concurrent_moves: 4 → 8", `  placement.preferred_regions: ["eu"] → ["us"]`, `  labels: - → {"team":"a"}`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if strings.Count(got, "\n") != 4 {
		t.Errorf("got %q", got)
	}
	if got := changes("", to.ProtoReflect(), to.ProtoReflect()); got != nil {
		t.Errorf("nothing changes: %q", got)
	}
}
