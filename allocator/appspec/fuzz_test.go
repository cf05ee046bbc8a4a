package appspec_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzSpec: a spec is refused with the field that is wrong, or taken and says the same when it comes back.
func FuzzSpec(f *testing.F) {
	hash := &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 8}}}
	for _, p := range []*pb.AppSpec{
		{}, {Name: "kv", KeySpace: hash},
		{Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Named{Named: &pb.NamedKeySpace{}}}, Replication: pb.Replication_REPLICATION_PRIMARY_SECONDARY, Replicas: 3,
			RegionReplicas: map[string]uint32{"eu": 2}, Labels: map[string]string{"a": "b"}, Exclusive: proto.Bool(false), OnCoordinationLoss: pb.CoordinationLoss_COORDINATION_LOSS_HOLD,
			Placement: &pb.Placement{Spread: 2, PreferredRegions: []string{"eu"}, MaxConcurrentMoves: 1, DefaultLoad: map[string]int64{"cpu": 5}}},
		{Name: "kv", KeySpace: hash, Maintenance: &pb.MaintenanceCaps{MaxServersDown: proto.Uint32(2), Windows: []*pb.MaintenanceWindow{{Days: []string{"sun", "MON"}, Start: "02:30", Minutes: 90}}},
			ReplicaScaling: &pb.ReplicaScaling{Metric: "reads", Target: 5, Min: 1, Max: 3, CooldownUpMs: 1 << 60}, Policy: &pb.Policy{Group: "g"}},
	} {
		raw, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := new(pb.AppSpec)
		if proto.Unmarshal(raw, p) != nil {
			return
		}
		first, err := appspec.FromProto(p)
		if err != nil {
			wrong, unsupported := (*wire.FieldError)(nil), (*appspec.UnsupportedError)(nil)
			if !errors.As(err, &wrong) && !errors.As(err, &unsupported) {
				t.Fatalf("refused without the field: %v", err)
			}
			return
		}
		back := appspec.ToProto(first)
		second, err := appspec.FromProto(back)
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v\ntaken, and when it came back: %v\n%s", p, err, diff)
		}
		if again := appspec.ToProto(second); !proto.Equal(back, again) {
			t.Fatalf("written as %v, and then as %v", back, again)
		}
	})
}
