package appspec_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Caps come back as they were written, and what is not said stays unsaid: 0 is a cap, and none is not.
func TestCapsRoundTrip(t *testing.T) {
	space := &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 8}}}
	for name, caps := range map[string]*pb.MaintenanceCaps{
		"none": nil,
		"zero": {MaxServersDown: proto.Uint32(0)},
		"all": {MaxUnavailableReplicas: proto.Uint32(1), MaxServersDown: proto.Uint32(2), MaxServersDownPerRegion: proto.Uint32(3), RestartDrainsAll: true,
			Windows: []*pb.MaintenanceWindow{{Days: []string{"SUN", "TUE"}, Start: "02:30", Minutes: 90}, {Start: "00:00", Minutes: 1440}}},
	} {
		s, err := appspec.FromProto(&pb.AppSpec{Name: "kv", KeySpace: space, Maintenance: caps})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := appspec.ToProto(s).GetMaintenance(); !proto.Equal(got, caps) {
			t.Errorf("%s: %v became %v", name, caps, got)
		}
	}
	for field, w := range map[string]*pb.MaintenanceWindow{
		"spec.maintenance.windows[0].start": {Start: "25:00", Minutes: 1}, "spec.maintenance.windows[0].days": {Start: "05:00", Minutes: 1, Days: []string{"someday"}},
	} {
		_, err := appspec.FromProto(&pb.AppSpec{Name: "kv", KeySpace: space, Maintenance: &pb.MaintenanceCaps{Windows: []*pb.MaintenanceWindow{w}}})
		if wrong := (*wire.FieldError)(nil); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%v: %v, expected %s", w, err, field)
		}
	}
}
