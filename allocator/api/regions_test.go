package api_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/regions"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// What agents say of where they are is kept, and a coordinate that makes no sense costs nobody a renewal.
func TestRegions(t *testing.T) {
	s := newServer(t)
	s.node.leader.view = func(context.Context) (*api.View, error) {
		in := func(region string) report.ServerStatus {
			return report.ServerStatus{Server: shard.Server{Locality: shard.Locality{Region: region}}}
		}
		return &api.View{Servers: []report.ServerStatus{in("us"), in(""), in("us")}}, nil
	}
	for agent, x := range map[string]int64{"e": 0, "u": 90e6} {
		conn, err := shardmanagerv1connect.NewAllocatorServiceClient(s.endpoint.Client, s.endpoint.URL).Attach(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		server := &pb.Server{Id: agent + ".kv", App: "kv", Agent: agent, Incarnation: 7, Locality: &pb.Locality{Region: map[string]string{"e": "eu", "u": "us"}[agent]}}
		s.send(conn, &pb.AttachRequest{Message: &pb.AttachRequest_Hello{Hello: &pb.Hello{Cluster: "c1", ProtocolVersion: 1, Server: server}}})
		s.node.leader.next(t)
		for _, c := range []*pb.NetworkCoordinate{
			{VectorNs: []int64{x}, HeightNs: 1e6, ErrorPermille: 40}, {VectorNs: []int64{1 << 62}}, {VectorNs: []int64{0}, ErrorPermille: 1 << 31}, nil,
		} {
			s.send(conn, &pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: &pb.Renew{Sequence: 1, Coordinate: c}}})
			if _, ok := s.node.leader.next(t).(ledger.Renew); !ok {
				t.Fatal("no renewal")
			}
		}
	}
	admin := shardmanagerv1connect.NewAdminServiceClient(s.endpoint.Client, s.endpoint.URL)
	got, err := admin.ListRegions(t.Context(), &pb.ListRegionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.ListRegionsResponse{
		Regions:   []*pb.Region{{Servers: 1}, {Name: "eu", LocatedAgents: 1}, {Name: "us", Servers: 2, LocatedAgents: 1}},
		Latencies: []*pb.RegionLatency{{From: "eu", To: "us", MedianNs: 92e6, ErrorPermille: 40, Pairs: 1}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&pb.RegionLatency{}, "age_ms")); diff != "" {
		t.Error(diff)
	}
}

// Round trips that are only configured are marked, and a region in which nobody is can be seen, in case its name is wrong.
func TestConfiguredRegions(t *testing.T) {
	configured, err := latency.Configured("setting", []string{"eu:mars=9s"})
	if err != nil {
		t.Fatal(err)
	}
	places, node := regions.NewKeeper(clock.Now, configured), &testNode{leader: newRecorder()}
	got, err := api.NewAdmin(node, mapfeed.NewHub(mapfeed.HubConfig{}), api.NewAttach(node, places), feed.New(events.NewLog(), 0), places, nil, nil, nil).ListRegions(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.ListRegionsResponse{
		Regions: []*pb.Region{{Name: "eu"}, {Name: "mars"}}, Latencies: []*pb.RegionLatency{{From: "eu", To: "mars", MedianNs: 9e9, Configured: true}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}
