package appspec_test

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestScalingRoundTrip(t *testing.T) {
	space := &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 8}}}
	for name, scaling := range map[string]*pb.ReplicaScaling{
		"none": nil, "empty": {}, "all": {Metric: "reads", Target: 1000, Min: 2, Max: 6, TolerancePercent: 20, CooldownUpMs: 30_000, CooldownDownMs: 90_001},
	} {
		s, err := appspec.FromProto(&pb.AppSpec{Name: "kv", KeySpace: space, ReplicaScaling: scaling})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := appspec.ToProto(s).GetReplicaScaling(); !proto.Equal(got, scaling) {
			t.Errorf("%s: %v became %v", name, scaling, got)
		}
	}
	s, err := appspec.FromProto(&pb.AppSpec{Name: "kv", KeySpace: space, ReplicaScaling: &pb.ReplicaScaling{CooldownUpMs: math.MaxUint64}})
	if err != nil || s.Scaling.Up < 1000*time.Hour {
		t.Errorf("for ever became %v, %v", s.Scaling.Up, err)
	}
}
