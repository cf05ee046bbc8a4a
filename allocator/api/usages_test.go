package api_test

import (
	"context"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Usage comes with renewals, is shown with its server, stays until something newer comes, and goes with the stream that told it.
func TestUsageIsShown(t *testing.T) {
	s := newServer(t)
	known := shard.Server{ID: "x.kv", App: "kv", Agent: "x", Incarnation: 7}
	s.node.leader.view = func(context.Context) (*api.View, error) {
		other := known
		other.ID, other.Agent = "y.kv", "y"
		return &api.View{Servers: []report.ServerStatus{{Server: known}, {Server: other}}}, nil
	}
	admin := shardmanagerv1connect.NewAdminServiceClient(s.endpoint.Client, s.endpoint.URL)
	shown := func() (x, y *pb.ServerStatus) {
		t.Helper()
		answer, err := admin.ListServers(t.Context(), &pb.ListServersRequest{})
		if err != nil || len(answer.GetServers()) != 2 {
			t.Fatalf("%v, %v", answer, err)
		}
		return answer.GetServers()[0], answer.GetServers()[1]
	}
	renew := func(conn *stream, usage *pb.HostUsage) {
		t.Helper()
		s.send(conn, &pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: &pb.Renew{Sequence: 1, Usage: usage}}})
		if _, ok := s.node.leader.next(t).(ledger.Renew); !ok {
			t.Fatal("no renewal")
		}
	}
	used := func(cpu int64) *pb.HostUsage {
		return &pb.HostUsage{Host: &pb.Resources{Used: map[string]int64{load.CPUMilli: cpu}, Limit: map[string]int64{load.CPUMilli: 2000}}}
	}
	conn, _ := s.open(t.Context())
	if x, y := shown(); x.GetAgentVersion() != "v1" || y.GetAgentVersion() != "" {
		t.Errorf("versions of agents %q and %q", x.GetAgentVersion(), y.GetAgentVersion())
	}
	if x, _ := shown(); x.GetUsage() != nil {
		t.Errorf("before any: %v", x.GetUsage())
	}
	renew(conn, used(100))
	renew(conn, nil)
	x, y := shown()
	if x.GetUsage().GetHost().GetUsed()[load.CPUMilli] != 100 || x.GetUsage().GetHost().GetLimit()[load.CPUMilli] != 2000 || x.GetUsageAgeMs() < 0 {
		t.Errorf("shown %v", x)
	}
	if y.GetUsage() != nil {
		t.Errorf("another server's: %v", y.GetUsage())
	}
	known.Incarnation = 8
	if x, _ := shown(); x.GetUsage() != nil {
		t.Errorf("of the incarnation after: %v", x.GetUsage())
	}
	known.Incarnation = 7

	next, _ := s.open(t.Context()) // the newer stream tells, then the older ends
	renew(next, used(200))
	closed := func(conn *stream) {
		t.Helper()
		if err := conn.CloseRequest(); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.node.leader.next(t).(ledger.Detached); !ok {
			t.Fatal("the stream did not end")
		}
		for {
			if _, err := conn.Receive(); err != nil {
				return // its handler has returned
			}
		}
	}
	closed(conn)
	if x, _ := shown(); x.GetUsage().GetHost().GetUsed()[load.CPUMilli] != 200 {
		t.Errorf("of the newer stream: %v", x.GetUsage())
	}
	closed(next)
	if x, _ := shown(); x.GetUsage() != nil || x.GetAgentVersion() != "" {
		t.Errorf("after its stream: %v", x.GetUsage())
	}
}
