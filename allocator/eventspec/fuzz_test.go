package eventspec_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/eventspec"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzEvent: an event says the same when it comes back from the store, whatever was in it.
func FuzzEvent(f *testing.F) {
	for _, p := range []*pb.MaintenanceEvent{
		{}, {Turn: 3, Waived: true, Request: &pb.MaintenanceRequest{Id: "e", Kind: 1, Impact: 2, Announced: true, StartMs: -1, DeadlineMs: 1 << 62, DurationMs: 7,
			Scope: &pb.MaintenanceScope{Servers: []string{"a.kv"}, Hosts: []string{"h"}, Racks: []string{"r"}, Zones: []string{"z"}, Regions: []string{"eu"}}},
			Pieces: []*pb.MaintenancePiece{{State: 3, LeftMs: -5, Detail: "d", Never: true, Covers: []*pb.MaintenancePiece_Covered{{Server: "a.kv", Incarnation: 1}}}}},
	} {
		raw, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := new(pb.MaintenanceEvent)
		if proto.Unmarshal(raw, p) != nil {
			return
		}
		first := eventspec.FromProto(p)
		back := eventspec.ToProto(&first)
		second := eventspec.FromProto(back)
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%v came back otherwise (-first +second):\n%s", p, diff)
		}
		if again := eventspec.ToProto(&second); !proto.Equal(back, again) {
			t.Fatalf("written as %v, and then as %v", back, again)
		}
	})
}
