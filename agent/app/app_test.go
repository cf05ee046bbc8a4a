package app_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/agent/app"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// host is an application that answers what it is told to, and keeps what it was asked.
type host struct {
	shardmanagerv1connect.UnimplementedShardHostServiceHandler
	err   error
	says  bool // busy, or begun
	hang  bool
	asked proto.Message
}

func answer[T any](ctx context.Context, h *host, asked proto.Message, response *T) (*T, error) {
	h.asked = asked
	if h.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if h.err != nil {
		return nil, h.err
	}
	return response, nil
}

func (h *host) Activate(ctx context.Context, r *pb.ActivateRequest) (*pb.ActivateResponse, error) {
	return answer(ctx, h, r, &pb.ActivateResponse{})
}

func (h *host) AddShard(ctx context.Context, r *pb.AddShardRequest) (*pb.AddShardResponse, error) {
	return answer(ctx, h, r, &pb.AddShardResponse{})
}

func (h *host) DropShard(ctx context.Context, r *pb.DropShardRequest) (*pb.DropShardResponse, error) {
	return answer(ctx, h, r, &pb.DropShardResponse{})
}

func (h *host) PrepareAddShard(ctx context.Context, r *pb.PrepareAddShardRequest) (*pb.PrepareAddShardResponse, error) {
	return answer(ctx, h, r, &pb.PrepareAddShardResponse{})
}

func (h *host) PrepareDropShard(ctx context.Context, r *pb.PrepareDropShardRequest) (*pb.PrepareDropShardResponse, error) {
	return answer(ctx, h, r, &pb.PrepareDropShardResponse{Busy: h.says})
}

func (h *host) CancelMove(ctx context.Context, r *pb.CancelMoveRequest) (*pb.CancelMoveResponse, error) {
	return answer(ctx, h, r, &pb.CancelMoveResponse{Begun: h.says})
}

func (h *host) UpdateMembership(ctx context.Context, r *pb.UpdateMembershipRequest) (*pb.UpdateMembershipResponse, error) {
	return answer(ctx, h, r, &pb.UpdateMembershipResponse{})
}

func (h *host) CollectLoad(ctx context.Context, r *pb.CollectLoadRequest) (*pb.CollectLoadResponse, error) {
	return answer(ctx, h, r, &pb.CollectLoadResponse{Loads: []*pb.CollectedLoad{{Shard: "3", Load: map[string]int64{"keys": 9}}}})
}

func (h *host) EndIncarnation(ctx context.Context, r *pb.EndIncarnationRequest) (*pb.EndIncarnationResponse, error) {
	return answer(ctx, h, r, &pb.EndIncarnationResponse{})
}

func serve(t *testing.T) (*host, string) {
	dir, err := os.MkdirTemp("", "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := "unix://" + filepath.Join(dir, "h")
	listener, err := transport.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardHostServiceHandler(h))
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return h, address
}

// TestCalls: every kind of call reaches its method whole, and every kind of answer becomes its outcome.
func TestCalls(t *testing.T) {
	t.Parallel()
	h, address := serve(t)
	client := app.New("kv")
	t.Cleanup(client.Close)
	command := &pb.ShardCommand{App: "kv", Shard: "3", Term: 5, Move: 6, Incarnation: 7}
	peer := &pb.Peer{Server: "b.kv", Incarnation: 8, DataAddress: "b:1"}
	stale := wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE, "x", "y", "")
	members := []*pb.Member{{Peer: peer, InSync: true}}
	const addSecondary = 100 + roster.CallAddShard
	for kind, want := range map[roster.CallKind]proto.Message{
		roster.CallActivate:         &pb.ActivateRequest{Command: command, Members: members},
		roster.CallAddShard:         &pb.AddShardRequest{Command: command, Role: pb.Role_ROLE_PRIMARY, Members: members},
		addSecondary:                &pb.AddShardRequest{Command: command, Role: pb.Role_ROLE_SECONDARY, Members: members, Primary: peer},
		roster.CallDropShard:        &pb.DropShardRequest{Command: command},
		roster.CallPrepareAdd:       &pb.PrepareAddShardRequest{Command: command, From: peer, Members: members},
		roster.CallPrepareDrop:      &pb.PrepareDropShardRequest{Command: command, To: peer, DeadlineMs: 5000},
		roster.CallCancelMove:       &pb.CancelMoveRequest{Command: command},
		roster.CallCollectLoad:      &pb.CollectLoadRequest{},
		roster.CallEndIncarnation:   &pb.EndIncarnationRequest{Incarnation: 7, Reason: "why"},
		roster.CallUpdateMembership: &pb.UpdateMembershipRequest{Command: command, Members: members},
	} {
		b := shard.Peer{Server: "b.kv", Incarnation: 8, DataAddress: "b:1"}
		call := roster.Call{
			ID: 4, Kind: kind, Host: address, Incarnation: 7, Shard: "3", Order: shard.Order{Term: 5, Move: 6}, Deadline: 5 * time.Second,
			Role: shard.Primary, Peer: b, Members: []shard.Member{{Peer: b, InSync: true}}, Reason: "why",
		}
		if kind == addSecondary {
			call.Kind, call.Role = roster.CallAddShard, shard.Secondary
		}
		outcome := func(err error, says bool) roster.Outcome {
			h.err, h.says = err, says
			done := client.Do(context.Background(), call)
			if done.ID != 4 || (done.Outcome == roster.CallFailed) && done.Err == "" {
				t.Errorf("kind %d: %+v", kind, done)
			}
			return done.Outcome
		}
		fine, other := roster.CallOK, roster.CallOK
		switch kind {
		case roster.CallPrepareDrop:
			other = roster.CallBusy
		case roster.CallCancelMove:
			fine, other = roster.CallNotBegun, roster.CallBegun
		default:
		}
		if got := outcome(nil, false); got != fine {
			t.Errorf("kind %d: outcome %d, expected %d", kind, got, fine)
		}
		if diff := cmp.Diff(want, h.asked, protocmp.Transform()); diff != "" {
			t.Errorf("kind %d: %s", kind, diff)
		}
		if got := outcome(nil, true); got != other {
			t.Errorf("kind %d: outcome %d, expected %d", kind, got, other)
		}
		if got := outcome(stale, false); got != roster.CallStale {
			t.Errorf("kind %d refused as stale: outcome %d", kind, got)
		}
		if got := outcome(errors.New("broken"), true); got != roster.CallFailed {
			t.Errorf("kind %d failed: outcome %d", kind, got)
		}
	}
}

// TestDeadline: a callback that hangs fails at its deadline; one at a dead address fails too.
func TestDeadline(t *testing.T) {
	t.Parallel()
	h, address := serve(t)
	h.hang = true
	client := app.New("kv")
	t.Cleanup(client.Close)
	call := roster.Call{ID: 1, Kind: roster.CallAddShard, Host: address, Deadline: 20 * time.Millisecond}
	if done := client.Do(context.Background(), call); done.Outcome != roster.CallFailed {
		t.Errorf("a callback that hangs: %+v", done)
	}
	for _, address := range []string{"unix:///nowhere/x", "nonsense"} {
		call.Host = address
		if done := client.Do(context.Background(), call); done.Outcome != roster.CallFailed {
			t.Errorf("at %s: %+v", address, done)
		}
	}
}
