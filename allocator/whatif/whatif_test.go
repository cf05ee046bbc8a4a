package whatif_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/whatif"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// everything is an input that has something in every field.
func everything() placement.Input {
	return placement.Input{
		App:   "kv",
		Apart: latency.Of([]latency.Pair{{From: "eu", To: "us", Estimate: latency.Estimate{Median: 90 * time.Millisecond, Configured: true}}}),
		Policy: placement.Policy{Replicas: 2, Primary: true, Spread: locality.Zone, Regions: map[string]int{"eu": 1}, PreferRegions: []string{"eu", "us"},
			Moves: 64, MovesPerServer: 8, TolerancePercent: 10},
		Servers: []placement.Server{
			{ID: "a.kv", Incarnation: 7, Locality: shard.Locality{Region: "eu", Zone: "1", Rack: "r", Host: "h"}, Capacity: map[string]int64{"cpu": 100}, Labels: map[string]string{"disk": "ssd"}, Accepts: true, Moves: 1},
			{ID: "b.kv", Locality: shard.Locality{Region: "us"}, Leaving: true},
			{ID: "c.kv", Locality: shard.Locality{Region: "us", Zone: "2"}, Accepts: true},
		},
		Shards: []placement.Shard{
			{Index: 0, ID: "0", Load: map[string]int64{"shards": 1, "cpu": 30}, Pinned: true, Avoid: []shard.ServerID{"c.kv"}, Replicas: []placement.Replica{
				{On: 0, To: 2, Role: shard.Primary, Settled: true}, {On: 1, To: -1, Role: shard.Secondary, Leaving: true}}},
			{Index: 1, ID: "1", Load: map[string]int64{"shards": 1}, Urgent: true, Replicas: []placement.Replica{{On: -1, To: -1, Role: shard.Secondary}}},
			{Index: 2, ID: "2", Load: map[string]int64{"shards": 1}, Backoff: true, Wanted: 3},
		},
	}
}

func TestStateThereAndBack(t *testing.T) {
	t.Parallel()
	want := everything()
	text, err := protojson.Marshal(whatif.StateToProto(want))
	if err != nil {
		t.Fatal(err)
	}
	p := new(pb.PlacementState)
	if err := protojson.Unmarshal(text, p); err != nil {
		t.Fatal(err)
	}
	got, _, err := whatif.StateFromProto(p)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Apart.Alike(want.Apart) {
		t.Errorf("latencies %v", got.Apart)
	}
	got.Apart = want.Apart
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(latency.Matrix{})); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedStatesAreRefused(t *testing.T) {
	t.Parallel()
	for want, damage := range map[string]func(*pb.PlacementState){
		"app:":                       func(p *pb.PlacementState) { p.App = "" },
		"wants.replicas:":            func(p *pb.PlacementState) { p.Wants = nil },
		"wants.region_replicas:":     func(p *pb.PlacementState) { p.Wants.RegionReplicas["eu"] = 3 },
		"servers[1].id:":             func(p *pb.PlacementState) { p.Servers[1].Id = "a.kv" },
		"servers[0].capacity.cpu:":   func(p *pb.PlacementState) { p.Servers[0].Capacity["cpu"] = -1 },
		"shards[2].index:":           func(p *pb.PlacementState) { p.Shards[2].Index = 1 },
		"shards[0].load.cpu:":        func(p *pb.PlacementState) { p.Shards[0].Load["cpu"] = -1 },
		"shards[1].load.shards:":     func(p *pb.PlacementState) { p.Shards[1].Load = nil },
		"shards[0].replicas[1].role": func(p *pb.PlacementState) { p.Shards[0].Replicas[1].Role = pb.Role_ROLE_PRIMARY },
		"shards[0].replicas[1].on":   func(p *pb.PlacementState) { p.Shards[0].Replicas[1].On = 1 },
		"shards[1].wanted":           func(p *pb.PlacementState) { p.Shards[1].Wanted = 1001 },
		"shards[0].replicas[0]:":     func(p *pb.PlacementState) { p.Shards[0].Replicas[0].To = 4 },
	} {
		p := whatif.StateToProto(everything())
		damage(p)
		_, _, err := whatif.StateFromProto(p)
		var bad *wire.FieldError
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// spec is one that fits everything.
func spec() *pb.AppSpec {
	return &pb.AppSpec{
		Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 3}}}, Replication: pb.Replication_REPLICATION_PRIMARY_SECONDARY, Replicas: 2,
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	in := everything()
	with := spec()
	with.Placement = &pb.Placement{DefaultLoad: map[string]int64{"cpu": 5}}
	r := &pb.SimulateRequest{WithState: true, Changes: &pb.SimulatedChanges{
		Drain: []string{"a.kv"}, LoseServers: []string{"b.kv"}, LoseZones: []*pb.Locality{{Region: "us", Zone: "2"}}, Spec: with,
		AddServers: []*pb.AddedServers{{Count: 3, Locality: &pb.Locality{Region: "za", Zone: "1"}}},
		Loads:      []*pb.SimulatedLoad{{Shard: "1", Metric: "cpu", Value: 7}}, LoadFactors: []*pb.LoadFactor{{Metric: "cpu", Millionths: 2_000_000}},
	}}
	answer, err := whatif.Answer(t.Context(), in, whatif.Policies{}, r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.GetApp() != "kv" || !answer.GetAtRest() || answer.GetAfter().GetServers() != 4 || answer.GetPrimariesLost() != 1 || len(answer.GetNotes()) == 0 {
		t.Errorf("%v", answer)
	}
	if diff := cmp.Diff(whatif.StateToProto(everything()), answer.GetState(), protocmp.Transform()); diff != "" {
		t.Errorf("the state is not that before the changes: %s", diff)
	}
	again, err := whatif.Answer(t.Context(), in, whatif.Policies{}, r)
	if err != nil || !proto.Equal(answer, again) {
		t.Errorf("another answer: %v, %v", again, err)
	}
}

func TestAnswerRefuses(t *testing.T) {
	t.Parallel()
	with := func(change func(*pb.AppSpec)) *pb.SimulateRequest {
		s := spec()
		change(s)
		return &pb.SimulateRequest{Changes: &pb.SimulatedChanges{Spec: s}}
	}
	for want, r := range map[string]*pb.SimulateRequest{
		"max_rounds:":                         {MaxRounds: 10_001},
		"changes.drain:":                      {Changes: &pb.SimulatedChanges{Drain: []string{"x"}}},
		"changes.spec.name:":                  with(func(s *pb.AppSpec) { s.Name = "other" }),
		"changes.spec.key_space:":             with(func(s *pb.AppSpec) { s.KeySpace = nil }),
		"changes.spec.key_space.hash.shards:": with(func(s *pb.AppSpec) { s.GetKeySpace().GetHash().Shards = 4 }),
		"changes.spec.replicas:":              with(func(s *pb.AppSpec) { s.Replicas = 99 }),
		"changes.spec.replication:":           with(func(s *pb.AppSpec) { s.Replication = 99 }),
		"changes.spec:":                       with(func(s *pb.AppSpec) { s.Replication = pb.Replication_REPLICATION_SECONDARY_ONLY }),
	} {
		_, err := whatif.Answer(t.Context(), everything(), whatif.Policies{}, r)
		var bad *wire.FieldError
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// An answer comes before the time is over, and says that it is not the end.
func TestAnswerInTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // as much as the margin
	defer cancel()
	answer, err := whatif.Answer(ctx, everything(), whatif.Policies{}, &pb.SimulateRequest{Changes: &pb.SimulatedChanges{Drain: []string{"a.kv"}, LoseServers: []string{"b.kv"}}})
	if err != nil || answer.GetAtRest() || answer.GetStopped() == "" {
		t.Errorf("%v, %v", answer, err)
	}
	cancel()
	if _, err := whatif.Answer(ctx, everything(), whatif.Policies{}, new(pb.SimulateRequest)); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
}
