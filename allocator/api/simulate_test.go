package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// simulated is a leader that knows an app of 12 shards on three servers.
func simulated(t *testing.T) *server {
	s := newServer(t)
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
	for i := range 3 {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("node-%d.kv", i+1)), Accepts: true, Locality: shard.Locality{Region: "eu"}})
	}
	for i := range 12 {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: shard.HashSpace{Shards: 12}.ID(shard.Index(i)),
			Load: map[string]int64{placement.MetricShards: 1}, Replicas: []placement.Replica{{On: i % 3, To: -1, Role: shard.Primary, Settled: true}}})
	}
	s.node.leader.known = api.Explained{Input: in}
	s.node.leader.view = func(context.Context) (*api.View, error) {
		return &api.View{Specs: []ledger.Spec{{Name: "kv", Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 12}}}, {Name: "mail", Space: shard.KeySpace{Named: true}}}}, nil
	}
	return s
}

func TestSimulate(t *testing.T) {
	s := simulated(t)
	answer, err := s.admin().Simulate(t.Context(), &pb.SimulateRequest{App: "kv", WithState: true, Changes: &pb.SimulatedChanges{Drain: []string{"node-1.kv"}}})
	if err != nil {
		t.Fatal(err)
	}
	if !answer.GetAtRest() || answer.GetMoves() != 4 || answer.GetReplicasMoved() != 4 || answer.GetAfter().GetLeaving() != 0 || answer.GetAfter().GetAccepting() != 2 ||
		answer.GetBefore().GetAccepting() != 3 || len(answer.GetState().GetServers()) != 3 || len(answer.GetState().GetShards()) != 12 {
		t.Errorf("%v", answer)
	}
	if by := answer.GetRounds()[0].GetBy(); len(by) != 1 || by[0].GetKind() != pb.MoveKind_MOVE_KIND_MIGRATE || by[0].GetReason() != pb.MoveReason_MOVE_REASON_DRAIN || by[0].GetMoves() != 4 {
		t.Errorf("%v", answer.GetRounds())
	}
	// Nothing came of it: what the leader knows is as it was, and it was told nothing.
	if s := s.node.leader.known.Input.Servers[0]; !s.Accepts || s.Leaving || !cmp.Equal(shard.ServerID("node-1.kv"), s.ID) {
		t.Errorf("%+v", s)
	}
	if n := len(s.node.leader.events); n > 0 {
		t.Errorf("%d events came to the leader", n)
	}
}

func TestSimulateRefuses(t *testing.T) {
	s := simulated(t)
	for name, test := range map[string]struct {
		request *pb.SimulateRequest
		code    connect.Code
		want    string
	}{
		"app":       {&pb.SimulateRequest{App: "x"}, connect.CodeNotFound, "app: expected an app of this cluster"},
		"no shards": {&pb.SimulateRequest{App: "mail"}, connect.CodeFailedPrecondition, "shardmanager shards create mail"},
		"server":    {&pb.SimulateRequest{App: "kv", Changes: &pb.SimulatedChanges{Drain: []string{"x"}}}, connect.CodeInvalidArgument, "changes.drain: expected a server of kv (node-1.kv"},
		"rounds":    {&pb.SimulateRequest{App: "kv", MaxRounds: 1e6}, connect.CodeInvalidArgument, "max_rounds: expected 0"},
	} {
		_, err := s.admin().Simulate(t.Context(), test.request)
		if connect.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %v and %q", name, err, test.code, test.want)
		}
	}
	s.node.mu.Lock()
	s.node.leader = nil
	s.node.mu.Unlock()
	if _, err := s.admin().Simulate(t.Context(), &pb.SimulateRequest{App: "kv"}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a follower: %v", err)
	}
}
