package sdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/surroundings"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	// registerTimeout bounds one attempt to register.
	registerTimeout = 10 * time.Second
	// defaultInterval between two pulls of the lease, where the agent names none.
	defaultInterval = time.Second
	// maxLease is the longest lease believed; the longest that an agent may give is a rest lease of 30 s (PROTOCOL R19).
	maxLease = time.Minute
	// leaveTimeout bounds what Run does after its context ended.
	leaveTimeout = 10 * time.Second
)

// Run registers this process at the agent and keeps its lease, until ctx ends; then it stops every shard, revokes the lease, drops
// every shard, and returns nil, or the error of what could not be dropped within 10 s. Usually the agent was told to drain first, and
// nothing is left to drop.
//
// While the agent is away Run goes on trying, and the process serves for as long as its lease runs. Other errors: the agent refused
// the registration for good (wrong app, invalid settings), or the socket of WithHostSocket cannot be used. Run may be called once.
func (h *Host) Run(ctx context.Context) error {
	if err := h.startOnce(); err != nil {
		return err
	}
	if around, ok := surroundings.Of(ctx); ok {
		h.now = around.Now // nobody reads a clock before the first registration
	}
	endpoint, err := transport.Dial(h.options.agentAddress)
	if err != nil {
		return fmt.Errorf("sdk: run: agent: %w", err)
	}
	defer endpoint.Close()
	closeSocket, err := h.serveSocket()
	if err != nil {
		return fmt.Errorf("sdk: run: %w", err)
	}
	defer closeSocket()
	defer h.peers.CloseIdleConnections()
	err = h.stay(ctx, shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL))
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err = errors.Join(err, h.leave(leaving)); err != nil {
		return fmt.Errorf("sdk: run: %w", err)
	}
	return nil
}

func (h *Host) startOnce() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running {
		return errors.New("sdk: run: called twice")
	}
	h.running = true
	return nil
}

// serveSocket serves ShardHostService on the socket of WithHostSocket, if there is one.
func (h *Host) serveSocket() (stop func(), err error) {
	if h.options.hostSocket == "" {
		return func() {}, nil
	}
	listener, err := transport.Listen("unix://" + h.options.hostSocket)
	if err != nil {
		return nil, fmt.Errorf("host socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(h.Handler())
	server := transport.NewServer(context.Background(), mux)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it returns when stop closes it
	}()
	return func() {
		_ = transport.Shutdown(server, time.Second)
		<-served
	}, nil
}

// stay registers and attends to the agent, again and again.
func (h *Host) stay(ctx context.Context, agent shardmanagerv1connect.AgentServiceClient) error {
	pause := newPause()
	said := ""
	for ctx.Err() == nil {
		l, interval, err := h.register(ctx, agent)
		switch {
		case err == nil:
			said = ""
			if h.attend(ctx, agent, l, interval) {
				pause.Reset()
			}
		case isFinal(err):
			return fmt.Errorf("register app %s at agent %s: %w", h.app, h.options.agentAddress, err)
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			h.logger.Warn("registration failed, trying on", "agent", h.options.agentAddress, "error", said)
		}
		if l := h.life.Load(); l != nil && l.over() {
			h.dropAll(ctx, l)
		}
		sleep(ctx, pause.NextBackOff())
	}
	return nil
}

// newPause grows from 20 ms to 1 s, for ever: an agent that restarts should not wait for its applications.
func newPause() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(time.Second), backoff.WithMultiplier(1.6),
		backoff.WithMaxElapsedTime(0),
	)
}

// isFinal tells a refusal that no repetition changes.
func isFinal(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeUnimplemented, connect.CodePermissionDenied:
		return connect.IsWireError(err)
	}
	return false
}

// register tells the agent who this is and what it holds, and takes over the answer: the same incarnation goes on; another one means
// that ours has ended, so everything is dropped first.
func (h *Host) register(ctx context.Context, agent shardmanagerv1connect.AgentServiceClient) (*life, time.Duration, error) {
	adopted := make(chan struct{})
	defer close(adopted)
	h.mu.Lock()
	h.adopting = adopted
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.adopting = nil
		h.mu.Unlock()
	}()
	current := h.life.Load()
	request, err := h.registration(current)
	if err != nil {
		return nil, 0, err
	}
	asking, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	answer, err := agent.Register(asking, request)
	if err != nil {
		return nil, 0, err
	}
	if answer.GetServer() == "" || answer.GetIncarnation() == 0 {
		return nil, 0, errors.New("the agent's answer names no server or no incarnation: are its version and the SDK's the same?")
	}
	interval := time.Duration(answer.GetIntervalMs()) * time.Millisecond
	if interval <= 0 {
		interval = defaultInterval
	}
	incarnation := shard.Incarnation(answer.GetIncarnation())
	if current != nil && current.incarnation == incarnation {
		return current, interval, nil
	}
	if current != nil {
		h.revoke(current, "the agent has registered another one")
		h.dropAll(ctx, current)
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
	}
	next := newLife(answer.GetServer(), incarnation)
	h.adopt(next)
	return next, interval, nil
}

// registration is what the agent is told.
func (h *Host) registration(current *life) (*pb.RegisterRequest, error) {
	namespace, err := pidNamespace()
	if err != nil {
		return nil, err
	}
	o := &h.options
	request := &pb.RegisterRequest{
		App: h.app, Pid: int64(h.pid), PidNamespace: namespace, SingleProcess: o.singleProcess, HostAddress: "http://" + o.dataAddress,
		DataAddress: o.dataAddress, Version: o.version, Capacity: o.capacity, Labels: o.labels, Capabilities: h.capabilities(),
	}
	if o.hostSocket != "" {
		path, err := filepath.Abs(o.hostSocket)
		if err != nil {
			return nil, fmt.Errorf("host socket: %w", err)
		}
		request.HostAddress = "unix://" + path
	}
	h.mu.Lock()
	request.HighestEpoch = wire.EpochToProto(h.epoch)
	h.mu.Unlock()
	if current != nil && !current.over() {
		request.Incarnation = uint64(current.incarnation)
		for _, held := range current.held() {
			request.Held = append(request.Held, wire.HeldToProto(held))
		}
	}
	return request, nil
}

// pidNamespace is the inode of this process's pid namespace, which the agent compares (PROTOCOL R5).
func pidNamespace() (uint64, error) {
	info, err := os.Stat("/proc/self/ns/pid")
	if err != nil {
		return 0, fmt.Errorf("pid namespace: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("pid namespace: no inode")
	}
	return stat.Ino, nil
}

// attend pulls the lease and watches for hints until ctx ends, the life does, or the agent is gone. It reports whether the agent
// answered at all.
func (h *Host) attend(ctx context.Context, agent shardmanagerv1connect.AgentServiceClient, l *life, interval time.Duration) (answered bool) {
	ctx, cancel := context.WithCancel(ctx)
	pullNow, gone := make(chan struct{}, 1), make(chan struct{})
	defer func() {
		cancel()
		<-gone
	}()
	go func() {
		defer close(gone)
		h.watch(ctx, agent, l, pullNow)
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := h.pull(ctx, agent, l, interval)
		if connect.IsWireError(err) {
			return answered // it answers, but does not know this server: it has restarted
		}
		answered = answered || err == nil
		select {
		case <-tick.C:
		case <-pullNow:
		case <-l.ctx.Done():
			return answered
		case <-gone:
			return answered
		case <-ctx.Done():
			return answered
		}
	}
}

// watch passes hints on until the stream ends.
func (h *Host) watch(ctx context.Context, agent shardmanagerv1connect.AgentServiceClient, l *life, pullNow chan<- struct{}) {
	stream, err := agent.Watch(ctx, &pb.AgentServiceWatchRequest{App: h.app, Incarnation: uint64(l.incarnation)})
	if err != nil {
		return
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		switch stream.Msg().GetHint() {
		case pb.AgentHint_AGENT_HINT_PULL:
			select {
			case pullNow <- struct{}{}:
			default: // one is waiting already
			}
		case pb.AgentHint_AGENT_HINT_ENDED:
			h.revoke(l, "the agent says so")
		case pb.AgentHint_AGENT_HINT_KEEP_ALIVE, pb.AgentHint_AGENT_HINT_UNSPECIFIED:
		}
	}
}

// pull asks for the lease: its end counts from the instant read before asking (PROTOCOL R6).
func (h *Host) pull(ctx context.Context, agent shardmanagerv1connect.AgentServiceClient, l *life, interval time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(2*interval, time.Second))
	defer cancel()
	asked := h.now()
	answer, err := agent.PullLease(ctx, &pb.PullLeaseRequest{
		App: h.app, Incarnation: uint64(l.incarnation), Transfers: h.inbox.Progress(),
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	if epoch := wire.EpochFromProto(answer.GetHighestEpoch()); epoch.Compare(h.epoch) > 0 {
		h.epoch = epoch
	}
	h.mu.Unlock()
	if answer.GetEnded() {
		h.revoke(l, "the agent says so")
		return nil
	}
	end := asked.Add(min(time.Duration(answer.GetRemainingNs()), maxLease))
	l.extend(end, h.now(), func() {
		if h.observer != nil {
			h.observer.LeaseExtended(end.Raw)
		}
	})
	return nil
}

// dropAll drops every shard of a life that is over, however often the application fails at it, until ctx ends.
func (h *Host) dropAll(ctx context.Context, l *life) {
	pause := newPause()
	for {
		err := h.endLife(ctx, l, "")
		if err == nil || ctx.Err() != nil {
			return
		}
		h.logger.Error("shards of an ended incarnation cannot be dropped, trying on", "incarnation", l.incarnation.String(), "error", err.Error())
		sleep(ctx, pause.NextBackOff())
	}
}

// leave lets running operations finish, for a moment, then ends this server.
func (h *Host) leave(ctx context.Context) error {
	l := h.life.Load()
	if l == nil {
		return nil
	}
	if !l.over() {
		_ = eachReplica(l.all(), func(r *replica) error {
			r.setGate(gateClosed)
			return r.quiesce(ctx, dropPatience) // what still runs is told by endLife
		})
	}
	return h.endLife(ctx, l, "the application stops")
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
