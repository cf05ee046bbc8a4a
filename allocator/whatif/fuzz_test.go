package whatif_test

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardmanager/shardmanager/allocator/whatif"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// A saved state may have been edited: whatever is in it is refused or simulated, and what is simulated can be saved again.
func FuzzState(f *testing.F) {
	text, err := protojson.Marshal(whatif.StateToProto(everything()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text), "a.kv", uint32(2), int64(1_500_000))
	f.Add(`{"app":"kv","wants":{"replicas":1}}`, "", uint32(1), int64(0))
	f.Fuzz(func(t *testing.T, text, server string, n uint32, millionths int64) {
		p := new(pb.PlacementState)
		if protojson.Unmarshal([]byte(text), p) != nil {
			return
		}
		in, with, err := whatif.StateFromProto(p)
		if err != nil {
			return
		}
		for _, changes := range []*pb.SimulatedChanges{
			{Drain: []string{server}, AddServers: []*pb.AddedServers{{Count: n % 20}}},
			{LoseServers: []string{server}, LoadFactors: []*pb.LoadFactor{{Metric: "cpu", Millionths: millionths}}},
			{},
		} {
			answer, err := whatif.Answer(t.Context(), in, with, &pb.SimulateRequest{Changes: changes, MaxRounds: 20, WithState: true})
			if err != nil {
				continue
			}
			if _, _, err := whatif.StateFromProto(answer.GetState()); err != nil {
				t.Fatalf("what was simulated cannot be saved: %v", err)
			}
		}
	})
}
