package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// application is a small SDK host: it registers, pulls, watches, and answers calls.
type application struct {
	shardmanagerv1connect.UnimplementedShardHostServiceHandler
	agent  shardmanagerv1connect.AgentServiceClient
	host   string // its socket
	single bool
	close  func()

	mu          sync.Mutex
	incarnation uint64
	held        map[string]*pb.HeldShard
	calls       []string
	ended       []uint64
	loads       int // shards with a load; 0: shard 0 only
}

// startApplication serves ShardHostService on a socket of its own and dials the agent's.
func startApplication(dir, agentSocket string, single bool) (*application, error) {
	a := &application{host: "unix://" + filepath.Join(dir, "app.sock"), single: single, held: map[string]*pb.HeldShard{}}
	listener, err := transport.Listen(a.host)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardHostServiceHandler(a))
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(listener) }()
	endpoint, err := transport.Dial(agentSocket)
	if err != nil {
		return nil, err
	}
	a.agent = shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL)
	a.close = func() {
		endpoint.Close()
		_ = server.Close()
	}
	return a, nil
}

func application0(t testing.TB, agentSocket string) *application {
	a, err := startApplication(short(t), agentSocket, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// short is a directory whose path fits a Unix socket.
func short(t testing.TB) string {
	dir, err := os.MkdirTemp("", "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (a *application) request() *pb.RegisterRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		panic(err)
	}
	request := &pb.RegisterRequest{
		App: "kv", Pid: int64(os.Getpid()), PidNamespace: info.Sys().(*syscall.Stat_t).Ino, SingleProcess: a.single, HostAddress: a.host,
		DataAddress: "127.0.0.1:1", Incarnation: a.incarnation, Capabilities: &pb.HostCapabilities{Activate: true, Load: true, Membership: true},
	}
	for _, h := range a.held {
		request.Held = append(request.Held, h)
	}
	return request
}

// register registers once and pulls, so that the leader hears of it.
func (a *application) register(ctx context.Context) (uint64, error) {
	response, err := a.agent.Register(ctx, a.request())
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	if a.incarnation != response.GetIncarnation() {
		a.incarnation, a.held = response.GetIncarnation(), map[string]*pb.HeldShard{}
	}
	a.mu.Unlock()
	_, err = a.agent.PullLease(ctx, &pb.PullLeaseRequest{App: "kv", Incarnation: response.GetIncarnation()})
	return response.GetIncarnation(), err
}

// registered registers until it works.
func (a *application) registered(t testing.TB) uint64 {
	t.Helper()
	var incarnation uint64
	eventually(t, "the registration", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		i, err := a.register(ctx)
		incarnation = i
		return err == nil
	})
	return incarnation
}

func (a *application) pull(t testing.TB) *pb.PullLeaseResponse {
	t.Helper()
	a.mu.Lock()
	incarnation := a.incarnation
	a.mu.Unlock()
	response, err := a.agent.PullLease(context.Background(), &pb.PullLeaseRequest{App: "kv", Incarnation: incarnation})
	if err != nil {
		return &pb.PullLeaseResponse{}
	}
	return response
}

func (a *application) note(call string, c *pb.ShardCommand, h *pb.HeldShard) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, call+" "+c.GetShard())
	if c.GetIncarnation() != a.incarnation {
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE, "incarnation", "mine", "")
	}
	if h != nil {
		h.Shard, h.MaxTerm, h.MaxMove = c.GetShard(), c.GetTerm(), c.GetMove()
		a.held[c.GetShard()] = h
	}
	return nil
}

func (a *application) called() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *application) Activate(_ context.Context, req *pb.ActivateRequest) (*pb.ActivateResponse, error) {
	return &pb.ActivateResponse{}, a.note("activate", req.GetCommand(), nil)
}

func (a *application) AddShard(_ context.Context, req *pb.AddShardRequest) (*pb.AddShardResponse, error) {
	return &pb.AddShardResponse{}, a.note("add", req.GetCommand(), &pb.HeldShard{
		Phase: pb.ShardPhase_SHARD_PHASE_PRIMARY, Term: req.GetCommand().GetTerm(), Activated: true,
	})
}

func (a *application) DropShard(_ context.Context, req *pb.DropShardRequest) (*pb.DropShardResponse, error) {
	return &pb.DropShardResponse{}, a.note("drop", req.GetCommand(), &pb.HeldShard{Phase: pb.ShardPhase_SHARD_PHASE_NONE})
}

func (a *application) PrepareAddShard(_ context.Context, req *pb.PrepareAddShardRequest) (*pb.PrepareAddShardResponse, error) {
	return nil, a.note("prepare add", req.GetCommand(), nil)
}

func (a *application) PrepareDropShard(_ context.Context, req *pb.PrepareDropShardRequest) (*pb.PrepareDropShardResponse, error) {
	return &pb.PrepareDropShardResponse{Busy: true}, a.note("prepare drop to "+req.GetTo().GetServer(), req.GetCommand(), nil)
}

func (a *application) CancelMove(_ context.Context, req *pb.CancelMoveRequest) (*pb.CancelMoveResponse, error) {
	return &pb.CancelMoveResponse{}, a.note("cancel", req.GetCommand(), nil)
}

func (a *application) CollectLoad(context.Context, *pb.CollectLoadRequest) (*pb.CollectLoadResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loads == 0 {
		return &pb.CollectLoadResponse{Loads: []*pb.CollectedLoad{{Shard: "0", Load: map[string]int64{"keys": 3}}}}, nil
	}
	response := &pb.CollectLoadResponse{}
	for i := range a.loads {
		response.Loads = append(response.Loads, &pb.CollectedLoad{Shard: fmt.Sprintf("%03d", i), Load: map[string]int64{"keys": 3}})
	}
	return response, nil
}

func (a *application) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// attend pulls once a second and watches, until the agent is gone.
func (a *application) attend(incarnation uint64) {
	watch, err := a.agent.Watch(context.Background(), &pb.AgentServiceWatchRequest{App: "kv", Incarnation: incarnation})
	if err != nil {
		return
	}
	for watch.Receive() { // a keep-alive a second
		if _, err := a.agent.PullLease(context.Background(), &pb.PullLeaseRequest{App: "kv", Incarnation: incarnation}); err != nil {
			return
		}
	}
}

func (a *application) EndIncarnation(_ context.Context, req *pb.EndIncarnationRequest) (*pb.EndIncarnationResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, req.GetIncarnation())
	if a.incarnation == req.GetIncarnation() {
		a.incarnation, a.held = 0, map[string]*pb.HeldShard{}
	}
	return &pb.EndIncarnationResponse{}, nil
}

func (a *application) Ping(context.Context, *pb.PingRequest) (*pb.PingResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &pb.PingResponse{Server: "a.kv", Incarnation: a.incarnation}, nil
}
