package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/agent/leaders"
	"github.com/shardmanager/shardmanager/agent/pacing"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Servers stand in regions of zones.
const regions, zones = 5, 10

// storeTimeout is that of an agent's calls.
const storeTimeout = 3 * time.Second

// fleet is the simulated agents.
type fleet struct {
	agents   []*simulated
	attached atomic.Int64 // streams that were welcomed and last
	held     atomic.Int64 // replicas that were taken on and not dropped
	resumed  atomic.Int64 // commands of the leader that was welcomed last
	mute     atomic.Bool  // commands are left undone
	epoch    atomic.Uint64
	failed   chan error // holds one: whoever fails after the first would say nothing new, and waits for nobody
}

// fail ends the measurement by an error.
func (f *fleet) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// simulated is one agent with one server. Its calls to the store are those of a real one: a client of its own, a session that is renewed in
// the same rhythm, and the real search for the leader. It has no application, no gossip, and does every command at once.
type simulated struct {
	f       *fleet
	server  shard.Server
	store   coord.Store
	session coord.SessionID
	leaders *leaders.Leaders
	stop    context.CancelFunc
	up      chan *pb.AttachRequest   // what is to be sent, on whatever stream
	held    map[string]*pb.HeldShard // of the goroutine that attaches
	highest *pb.Epoch
}

// attachAll registers and attaches all servers, some at a time.
func attachAll(ctx context.Context, p *plane, servers int) (*fleet, error) {
	f := &fleet{failed: make(chan error, 1), agents: make([]*simulated, servers)}
	var starting sync.WaitGroup
	places := make(chan struct{}, 16)
	for i := range servers {
		store, err := p.dial()
		if err != nil {
			return nil, err
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("server %d of %d: %w", i, servers, ctx.Err())
		}
		starting.Go(func() {
			defer func() { <-places }()
			var err error
			if f.agents[i], err = f.begin(ctx, store, i); err != nil {
				f.fail(err)
			}
		})
	}
	starting.Wait()
	return f, f.wait(ctx, "attached servers", func() int64 { return f.attached.Load() }, int64(servers))
}

// wait returns once a count is reached.
func (f *fleet) wait(ctx context.Context, what string, count func() int64, want int64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for count() < want {
		select {
		case <-tick.C:
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%d of %d %s: %w", count(), want, what, ctx.Err())
		}
	}
	return nil
}

// placed waits until so many replicas are held.
func (f *fleet) placed(ctx context.Context, replicas int) error {
	return f.wait(ctx, "replicas", f.held.Load, int64(replicas))
}

// begin registers a server and attaches it.
func (f *fleet) begin(ctx context.Context, store coord.Store, i int) (*simulated, error) {
	name := fmt.Sprintf("agent-%04d", i)
	a := &simulated{f: f, store: store, leaders: leaders.New(nil, transport.Dial), up: make(chan *pb.AttachRequest, 4096), held: map[string]*pb.HeldShard{}, server: shard.Server{
		ID: shard.MakeServerID(name, app), App: app, Agent: name, Incarnation: shard.Incarnation(i + 1), DataAddress: "127.0.0.1:1", AgentAddress: "127.0.0.1:2",
		Locality: shard.Locality{Region: fmt.Sprintf("region-%d", i%regions), Zone: fmt.Sprintf("zone-%d", i%zones), Host: name},
	}}
	session, err := store.CreateSession(ctx, coord.SessionSpec{Name: name, TTL: agent.SessionTTL, Behavior: coord.DeleteKeys})
	if err != nil {
		return nil, err
	}
	a.session = session
	value, err := wire.Encode(&pb.ServerRecord{Server: wire.ServerToProto(a.server), Cluster: cluster})
	if err != nil {
		return nil, err
	}
	key := "shardmanager/" + cluster + "/servers/" + string(a.server.ID)
	if _, err := store.Txn(ctx, []coord.Op{
		{Verb: coord.CheckNotExists, Key: key}, {Verb: coord.Lock, Key: key, Value: value, Session: session},
	}); err != nil {
		return nil, err
	}
	ctx, a.stop = context.WithCancel(ctx)
	go a.keep(ctx)
	go a.leaders.Discover(ctx, store, cluster, f.fail)
	go a.run(ctx)
	return a, nil
}

// keep renews the session as a roster does: agent.SessionRenewal ± 20 %.
func (a *simulated) keep(ctx context.Context) {
	for clock.Pause(ctx, agent.SessionRenewal*4/5+rand.N(agent.SessionRenewal*2/5)) {
		call, cancel := context.WithTimeout(ctx, storeTimeout)
		ok, err := a.store.RenewSession(call, a.session)
		cancel()
		if ctx.Err() == nil && (err != nil || !ok) {
			a.f.fail(errors.Join(fmt.Errorf("%s: its session was not renewed", a.server.ID), err))
		}
	}
}

// run stays attached to whoever leads by the store's word, at the pace of a real agent.
func (a *simulated) run(ctx context.Context) {
	pauses := pacing.New()
	for ctx.Err() == nil {
		election, turn := a.leaders.Election(), pacing.Turn{}
		if election.Address != "" {
			began := time.Now()
			welcomed, err := a.attach(ctx, election.Address)
			if welcomed {
				turn.Lasted = time.Since(began)
			}
			turn.Refused = pacing.IsRefusal(err)
		}
		select {
		case <-election.Outdated:
		case <-time.After(pauses.After(turn)):
		case <-ctx.Done():
		}
	}
}

// attach is one stream to its end.
func (a *simulated) attach(ctx context.Context, address string) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	service, err := a.leaders.Service(address)
	if err != nil {
		return false, err
	}
	stream, err := service.Attach(ctx)
	if err != nil {
		return false, err
	}
	defer context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })()
	hello := &pb.Hello{
		Cluster: cluster, ProtocolVersion: 1, Server: wire.ServerToProto(a.server), HighestEpoch: a.highest,
		Capabilities: &pb.HostCapabilities{ChangeRole: true, Membership: true},
	}
	for _, h := range a.held {
		hello.Held = append(hello.Held, h)
	}
	if err := stream.Send(&pb.AttachRequest{Message: &pb.AttachRequest_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	go send(ctx, stream, a.up)
	for {
		m, err := stream.Receive()
		if err != nil {
			if welcomed {
				a.f.attached.Add(-1)
			}
			return welcomed, err
		}
		switch m := m.GetMessage().(type) {
		case *pb.AttachResponse_Welcome:
			welcomed, a.highest = true, m.Welcome.GetEpoch()
			a.f.welcomed(a.highest.GetIndex())
		case *pb.AttachResponse_Command:
			a.take(m.Command)
		case *pb.AttachResponse_Fenced:
			a.f.fail(fmt.Errorf("%s was fenced: %s", a.server.ID, m.Fenced.GetReason()))
			return welcomed, nil
		}
	}
}

// welcomed counts streams and, from a new leader's first on, its commands.
func (f *fleet) welcomed(epoch uint64) {
	if f.epoch.Swap(epoch) != epoch {
		f.resumed.Store(0)
	}
	f.attached.Add(1)
}

// take does a command and answers it, unless the fleet is mute.
func (a *simulated) take(c *pb.Command) {
	a.f.resumed.Add(1)
	if a.f.mute.Load() {
		return
	}
	a.obey(c)
	a.up <- &pb.AttachRequest{Message: &pb.AttachRequest_Result{Result: &pb.Result{Command: c.GetId(), Status: pb.ResultStatus_RESULT_STATUS_DONE}}}
}

// obey notes what the server holds from now on, and counts replicas.
func (a *simulated) obey(c *pb.Command) {
	id := c.GetId()
	before := a.held[id.GetShard()]
	h := &pb.HeldShard{Shard: id.GetShard(), Term: id.GetTerm(), MaxTerm: id.GetTerm(), MaxMove: id.GetMove()}
	switch id.GetKind() {
	case pb.CommandKind_COMMAND_KIND_ADD_SHARD:
		h.Phase, h.Activated = pb.ShardPhase_SHARD_PHASE_PRIMARY, true
		if c.GetRole() == pb.Role_ROLE_SECONDARY {
			h.Phase = pb.ShardPhase_SHARD_PHASE_SECONDARY
		}
	case pb.CommandKind_COMMAND_KIND_PREPARE_ADD_SHARD:
		h.Phase, h.Peer = pb.ShardPhase_SHARD_PHASE_PREPARED, c.GetPeer()
	case pb.CommandKind_COMMAND_KIND_PREPARE_DROP_SHARD:
		h.Phase, h.Peer, h.Term, h.Activated = pb.ShardPhase_SHARD_PHASE_FORWARDING, c.GetPeer(), before.GetTerm(), true
	case pb.CommandKind_COMMAND_KIND_DROP_SHARD:
		h.Phase, h.Term = pb.ShardPhase_SHARD_PHASE_NONE, 0
	default:
		return
	}
	a.held[id.GetShard()] = h
	if now := serves(h); now != serves(before) {
		if now {
			a.f.held.Add(1)
		} else {
			a.f.held.Add(-1)
		}
	}
}

// serves reports whether a replica counts: it was taken on, and not dropped.
func serves(h *pb.HeldShard) bool {
	switch h.GetPhase() {
	case pb.ShardPhase_SHARD_PHASE_PRIMARY, pb.ShardPhase_SHARD_PHASE_SECONDARY, pb.ShardPhase_SHARD_PHASE_FORWARDING:
		return true
	case pb.ShardPhase_SHARD_PHASE_UNSPECIFIED, pb.ShardPhase_SHARD_PHASE_NONE, pb.ShardPhase_SHARD_PHASE_PREPARED:
	}
	return false
}

// send passes messages on and renews once a second.
func send(ctx context.Context, stream *connect.BidiStreamForClientSimple[pb.AttachRequest, pb.AttachResponse], up <-chan *pb.AttachRequest) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for sequence := uint64(1); ; {
		var m *pb.AttachRequest
		select {
		case m = <-up:
		case <-tick.C:
			m = &pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: &pb.Renew{Sequence: sequence, AskedNs: time.Now().UnixNano()}}}
			sequence++
		case <-ctx.Done():
			return
		}
		if stream.Send(m) != nil {
			return // Receive says why
		}
	}
}
