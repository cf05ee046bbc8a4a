package virtual

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk/sdktest/internal/plane"
)

// askTimeout bounds one question of an agent to the leader.
const askTimeout = 2 * time.Second

// deathSeen is how long after the end of a process its agent knows of it.
const deathSeen = 10 * time.Millisecond

// agent is the agent of one server: it registers incarnations, renews the server's lease at the leader, gives it on to the Host, and passes
// commands. What its disk holds outlives a restart: the incarnation, and not the lease.
type agent struct {
	server  *Server
	cluster *Cluster
	node    string

	turn        sync.Mutex // of start and stop
	mu          sync.Mutex
	cancel      context.CancelFunc // nil: it is down
	ran         *sync.WaitGroup
	incarnation uint64 // 0: none, or it has ended
	known       bool   // the Host has registered since the agent's start
	leaseEnd    time.Time
	pulled      time.Time     // the Host asked for its lease last, or was to begin
	skew        time.Duration // its clock is ahead by this
	epoch       uint64        // highest of a leader that it heard of
	hints       map[chan pb.AgentHint]bool
	renew       chan struct{} // capacity 1: ask at once
	endpoint    transport.Endpoint
	client      shardmanagerv1connect.ShardHostServiceClient

	shardmanagerv1connect.UnimplementedAgentServiceHandler
}

func newAgent(s *Server) *agent {
	return &agent{server: s, cluster: s.cluster, node: "agent-" + s.Name, hints: map[chan pb.AgentHint]bool{}, renew: make(chan struct{}, 1)}
}

func (a *agent) address() string { return a.node + ":80" }

func (a *agent) now() time.Time { return time.Now().Add(a.skew) }

// start begins its process, unless it is there.
func (a *agent) start() {
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.up() {
		return
	}
	c := a.cluster
	listener, err := c.net.Listen(a.address())
	if err != nil {
		c.t.Fatal(err)
	}
	endpoint, err := transport.Dial(a.server.Address)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.around(c.ctx, a.node))
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAgentServiceHandler(a, connect.WithCompressMinBytes(1<<20)))
	c.serve(ctx, listener, mux)
	a.mu.Lock()
	a.cancel, a.ran, a.known, a.leaseEnd, a.pulled = cancel, &sync.WaitGroup{}, false, time.Time{}, time.Now()
	a.endpoint, a.client = endpoint, shardmanagerv1connect.NewShardHostServiceClient(endpoint.Client, endpoint.URL)
	a.ran.Go(func() { a.keepLease(ctx) })
	a.mu.Unlock()
}

func (a *agent) up() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cancel != nil
}

// stop ends it, as a crash would.
func (a *agent) stop() {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.mu.Lock()
	cancel, ran, endpoint := a.cancel, a.ran, a.endpoint
	a.cancel = nil
	a.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	a.cluster.net.Kill(a.node)
	endpoint.Close()
	ran.Wait()
}

// keepLease asks the leader for the lease, again and again.
func (a *agent) keepLease(ctx context.Context) {
	tick := time.NewTicker(a.cluster.cfg.Interval)
	defer tick.Stop()
	for {
		a.ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.renew:
		}
	}
}

// ask renews the lease once: its end counts from before the question (PROTOCOL R6).
func (a *agent) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	a.mu.Lock()
	me, asked, silent := plane.Holder{Server: a.server.Name, Incarnation: a.incarnation}, a.now(), time.Since(a.pulled)
	a.mu.Unlock()
	if me.Incarnation == 0 || a.cluster.net.Pass(ctx, a.node, plane.Node) != nil {
		return
	}
	answer, heard := a.cluster.plane.Vouch(me, silent)
	if !heard || a.cluster.net.Pass(ctx, plane.Node, a.node) != nil {
		return
	}
	a.mu.Lock()
	a.epoch = max(a.epoch, answer.Epoch)
	if end := asked.Add(answer.Remaining); a.incarnation == me.Incarnation && end.After(a.leaseEnd) {
		if !a.leaseEnd.After(a.now()) {
			a.hint(pb.AgentHint_AGENT_HINT_PULL)
		}
		a.leaseEnd = end
	}
	a.mu.Unlock()
	if answer.Ended {
		a.endIncarnation(me.Incarnation)
	}
}

// endIncarnation ends one for good; the Host hears of it at once.
func (a *agent) endIncarnation(incarnation uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.incarnation != incarnation {
		return
	}
	a.incarnation, a.leaseEnd = 0, time.Time{}
	a.hint(pb.AgentHint_AGENT_HINT_ENDED)
}

// hint tells the Host, if it watches. The caller holds mu.
func (a *agent) hint(hint pb.AgentHint) {
	for hints := range a.hints {
		select {
		case hints <- hint:
		default: // its next pull says the same
		}
	}
}

// died tells the leader that the process has ended, and with it the incarnation (PROTOCOL R5).
func (a *agent) died() {
	a.mu.Lock()
	me, cancel := plane.Holder{Server: a.server.Name, Incarnation: a.incarnation}, a.cancel
	a.mu.Unlock()
	if cancel == nil || me.Incarnation == 0 {
		return
	}
	a.endIncarnation(me.Incarnation)
	a.cluster.running.Go(func() {
		ctx, cancel := context.WithTimeout(a.cluster.ctx, SettleTime)
		defer cancel()
		timer := time.NewTimer(deathSeen)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if a.cluster.net.Pass(ctx, a.node, plane.Node) == nil {
			a.cluster.plane.ReportDeath(me)
		}
	})
}

// command passes a command of the leader on to the Host, unless a newer leader or another incarnation is known here (PROTOCOL R3).
func (a *agent) command(ctx context.Context, epoch, incarnation uint64, call plane.Call) error {
	a.mu.Lock()
	up, client := a.cancel != nil, a.client
	current := up && epoch >= a.epoch && incarnation == a.incarnation
	if current {
		a.epoch = epoch
	}
	a.mu.Unlock()
	switch {
	case !up:
		return connect.NewError(connect.CodeUnavailable, errors.New("the agent is down"))
	case !current:
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE, "command", "the present incarnation and leader", "")
	}
	return call(a.cluster.around(ctx, a.node), client)
}

// Register serves AgentService.
func (a *agent) Register(ctx context.Context, req *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	a.mu.Lock()
	goesOn := a.incarnation != 0 && req.GetIncarnation() == a.incarnation
	a.mu.Unlock()
	if !goesOn {
		if err := a.cluster.net.Pass(ctx, a.node, plane.Node); err != nil {
			return nil, connect.NewError(connect.CodeUnavailable, err)
		}
		next := a.cluster.plane.Register(a.server.Name)
		a.mu.Lock()
		a.incarnation, a.leaseEnd = next, time.Time{}
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.pulled = true, time.Now()
	select {
	case a.renew <- struct{}{}:
	default:
	}
	return &pb.RegisterResponse{
		Server: a.server.Name + "." + AppName, Incarnation: a.incarnation, IntervalMs: a.cluster.cfg.Interval.Milliseconds(),
	}, nil
}

// PullLease serves AgentService.
func (a *agent) PullLease(_ context.Context, req *pb.PullLeaseRequest) (*pb.PullLeaseResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("pull lease: nobody has registered"))
	}
	a.pulled = time.Now()
	answer := &pb.PullLeaseResponse{Ended: req.GetIncarnation() != a.incarnation}
	if !answer.Ended {
		answer.RemainingNs = int64(max(a.leaseEnd.Sub(a.now()), 0))
	}
	return answer, nil
}

// Watch serves AgentService.
func (a *agent) Watch(ctx context.Context, _ *pb.AgentServiceWatchRequest, out *connect.ServerStream[pb.AgentServiceWatchResponse]) error {
	hints := make(chan pb.AgentHint, 16)
	a.mu.Lock()
	a.hints[hints] = true
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.hints, hints)
	}()
	for hint := pb.AgentHint_AGENT_HINT_KEEP_ALIVE; ; {
		if err := out.Send(&pb.AgentServiceWatchResponse{Hint: hint}); err != nil {
			return err
		}
		select {
		case hint = <-hints:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
