// Package api is the agent's AgentService: it decodes requests, checks them, hands them to the agent's loop, and types what comes back.
//
// The shell mounts New on the Unix socket, for the applications and operators of the host, and NewPublic on the TCP listener, where
// nothing but Ping and LeaderSeen is answered. The package decides nothing and keeps no state.
package api

import (
	"context"
	"runtime"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// keepAlive is how often a watcher hears something while nothing happens.
const keepAlive = time.Second

// Applications is what the agent does for the processes beside it.
type Applications interface {
	// Register makes the calling process a server. The context is the request's: it leads to the caller's connection.
	Register(ctx context.Context, r Registration) (Registered, error)
	// Pull answers the remaining lease of an incarnation, and hears what state it receives now.
	Pull(ctx context.Context, app shard.App, incarnation shard.Incarnation, transfers []progress.Transfer) (roster.Reply, error)
	// Hints opens a feed of hints; it must be closed.
	Hints(ctx context.Context, app shard.App, incarnation shard.Incarnation) (Feed, error)
}

// Feed delivers hints. C carries HintPull, at most one unread, and is closed when the incarnation has ended.
type Feed struct {
	C     <-chan roster.Hint
	Close func()
}

// Operations is what the agent does for its operator.
type Operations interface {
	Status(ctx context.Context) (Status, error)
	// Drain asks for a drain, or takes it back, and tells how much is left until nothing is.
	Drain(ctx context.Context, app shard.App, on Switch, progress func(remaining int) error) error
	// Restart gets a rest lease and then ends the agent; it answers the shortest remaining lease, and the version of the program that takes over.
	Restart(ctx context.Context, r Restart) (rest time.Duration, version string, err error)
}

// Restart is the wish for a planned restart.
type Restart struct {
	Rest    time.Duration // length of the rest lease; 0: the default
	End     bool          // no program takes over: whoever supervises the agent starts it again
	Version string        // that the program must have; empty: any
}

// Witness says what the agent has seen of the leader.
type Witness interface {
	LeaderSeen(ctx context.Context) LeaderSeen
}

// LeaderSeen is when a leader last answered the agent (PROTOCOL R16).
type LeaderSeen struct {
	Asking bool          // it asks; otherwise its silence says nothing
	Epoch  shard.Epoch   // highest of a leader that answered; zero: none did
	Silent time.Duration // no answer for so long, although asked
}

// Switch turns something on or off.
type Switch uint8

// Switches.
const (
	On Switch = iota + 1
	Off
)

// Registration is a Register as understood.
type Registration struct {
	App           shard.App
	PID           int64  // as the process sees itself
	PIDNamespace  uint64 // likewise
	SingleProcess bool
	Application   roster.Application // without its process
	Incarnation   shard.Incarnation
	Held          []shard.Held
	Highest       shard.Epoch
}

// Registered answers a Registration.
type Registered struct {
	Server      shard.ServerID
	Incarnation shard.Incarnation
	Interval    time.Duration
	Locality    shard.Locality
}

// Status is how the agent stands.
type Status struct {
	Agent    string
	Version  string
	Locality shard.Locality
	Servers  []roster.View
	Usages   []load.Usage // of the servers
	Usage    load.Usage   // of the agent

	Run            uint64 // drawn anew each time the agent starts
	OnTrial        bool   // it may have to give way to the agent before it
	RestartProblem string // why the last planned restart failed; empty: it did not
}

type service struct {
	name         string
	applications Applications
	operations   Operations
	witness      Witness
}

// New makes the handler for the agent's Unix socket.
func New(name string, applications Applications, operations Operations, witness Witness) shardmanagerv1connect.AgentServiceHandler {
	return &service{name: name, applications: applications, operations: operations, witness: witness}
}

func (s *service) Register(ctx context.Context, req *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	r, err := registration(req)
	if err != nil {
		return nil, err
	}
	done, err := s.applications.Register(ctx, r)
	if err != nil {
		return nil, err
	}
	return &pb.RegisterResponse{
		Server: string(done.Server), Incarnation: uint64(done.Incarnation), IntervalMs: done.Interval.Milliseconds(),
		Locality: wire.LocalityToProto(done.Locality),
	}, nil
}

func (s *service) PullLease(ctx context.Context, req *pb.PullLeaseRequest) (*pb.PullLeaseResponse, error) {
	reply, err := s.applications.Pull(
		ctx, shard.App(req.GetApp()), shard.Incarnation(req.GetIncarnation()), wire.TransfersFromProto(req.GetTransfers()),
	)
	if err != nil {
		return nil, err
	}
	return &pb.PullLeaseResponse{
		RemainingNs: int64(reply.Remaining), Ended: reply.Ended, HighestEpoch: wire.EpochToProto(reply.Highest),
	}, nil
}

func (s *service) Watch(ctx context.Context, req *pb.AgentServiceWatchRequest, stream *connect.ServerStream[pb.AgentServiceWatchResponse]) error {
	feed, err := s.applications.Hints(ctx, shard.App(req.GetApp()), shard.Incarnation(req.GetIncarnation()))
	if err != nil {
		return err
	}
	defer feed.Close()
	say := func(h pb.AgentHint) error { return stream.Send(&pb.AgentServiceWatchResponse{Hint: h}) }
	if err := say(pb.AgentHint_AGENT_HINT_KEEP_ALIVE); err != nil { // the headers go out at once
		return err
	}
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		hint := pb.AgentHint_AGENT_HINT_KEEP_ALIVE
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case _, more := <-feed.C:
			hint = pb.AgentHint_AGENT_HINT_PULL
			if !more {
				return say(pb.AgentHint_AGENT_HINT_ENDED)
			}
		}
		if err := say(hint); err != nil {
			return err
		}
	}
}

func (s *service) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	status, err := s.operations.Status(ctx)
	if err != nil {
		return nil, err
	}
	response := &pb.StatusResponse{Agent: status.Agent, Version: status.Version, Locality: wire.LocalityToProto(status.Locality)}
	response.Usage, response.Goroutines = wire.UsageToProto(status.Usage), uint32(runtime.NumGoroutine())
	response.Run, response.OnTrial, response.RestartProblem = status.Run, status.OnTrial, status.RestartProblem
	for i, v := range status.Servers {
		response.Servers = append(response.Servers, serverStatus(v))
		if i < len(status.Usages) {
			response.Servers[i].Usage = wire.UsageToProto(status.Usages[i])
		}
	}
	return response, nil
}

func (s *service) Drain(ctx context.Context, req *pb.DrainRequest, stream *connect.ServerStream[pb.DrainResponse]) error {
	on := On
	if req.GetUndo() {
		on = Off
	}
	return s.operations.Drain(ctx, shard.App(req.GetApp()), on, func(remaining int) error {
		return stream.Send(&pb.DrainResponse{Remaining: uint32(max(remaining, 0))})
	})
}

func (s *service) Restart(ctx context.Context, req *pb.RestartRequest) (*pb.RestartResponse, error) {
	length := time.Duration(req.GetRestMs()) * time.Millisecond
	if length < 0 || length > roster.MaxRest {
		return nil, wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "rest_ms", "0 (the default) to 30000", "")
	}
	if req.GetEnd() && req.GetVersion() != "" {
		return nil, wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "version", "none with end: no program takes over", "")
	}
	remaining, version, err := s.operations.Restart(ctx, Restart{Rest: length, End: req.GetEnd(), Version: req.GetVersion()})
	if err != nil {
		return nil, err
	}
	return &pb.RestartResponse{RestMs: remaining.Milliseconds(), Version: version}, nil
}

func (s *service) Ping(context.Context, *pb.AgentServicePingRequest) (*pb.AgentServicePingResponse, error) {
	return &pb.AgentServicePingResponse{Agent: s.name}, nil
}

func (s *service) LeaderSeen(ctx context.Context, _ *pb.LeaderSeenRequest) (*pb.LeaderSeenResponse, error) {
	return leaderSeen(s.name, s.witness.LeaderSeen(ctx)), nil
}

func leaderSeen(name string, seen LeaderSeen) *pb.LeaderSeenResponse {
	return &pb.LeaderSeenResponse{Agent: name, Asking: seen.Asking, Epoch: wire.EpochToProto(seen.Epoch), SilentMs: seen.Silent.Milliseconds()}
}

type public struct {
	shardmanagerv1connect.UnimplementedAgentServiceHandler
	name    string
	witness Witness
}

// NewPublic makes the handler for the agent's TCP listener: Ping and LeaderSeen, and nothing else.
func NewPublic(name string, witness Witness) shardmanagerv1connect.AgentServiceHandler {
	return &public{name: name, witness: witness}
}

func (p *public) LeaderSeen(ctx context.Context, _ *pb.LeaderSeenRequest) (*pb.LeaderSeenResponse, error) {
	return leaderSeen(p.name, p.witness.LeaderSeen(ctx)), nil
}

func (p *public) Ping(context.Context, *pb.AgentServicePingRequest) (*pb.AgentServicePingResponse, error) {
	return &pb.AgentServicePingResponse{Agent: p.name}, nil
}
