package allocator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// testAgent speaks the agent's side of the protocol over a real socket, without an application: it registers, attaches, renews, does
// every command at once and remembers what it holds.
type testAgent struct {
	*testing.T
	cluster *testCluster
	server  shard.Server
	session coord.SessionID
	kill    context.CancelFunc
	gone    chan struct{} // closed when it has ended

	mu       sync.Mutex
	held     map[string]*pb.HeldShard
	told     map[string]int // commands, by shard
	grants   int
	attached string // address; empty: not attached
	epoch    *pb.Epoch
	heard    time.Time // when the leader last said something, or the agent began
	ends     []error   // of streams
	fenced   bool
	silent   pb.CommandKind // a callback that does not end; 0: none
	late     []*pb.Command  // in that callback, or behind one for the same shard
}

// agent registers a server and lives until the test ends or kills it.
func (c *testCluster) agent(name, app string, incarnation shard.Incarnation, nodes ...*node) *testAgent {
	c.Helper()
	a := c.registered(name, app, incarnation)
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.deps.Listener.Addr().String())
	}
	ctx, kill := context.WithCancel(context.Background())
	a.kill = kill
	c.living.Store(string(a.server.ID), a)
	go func() {
		defer close(a.gone)
		a.run(ctx, addresses)
	}()
	c.Cleanup(a.die)
	return a
}

// registered makes a server's session and key, and nothing else.
func (c *testCluster) registered(name, app string, incarnation shard.Incarnation) *testAgent {
	c.Helper()
	a := &testAgent{T: c.T, cluster: c, held: map[string]*pb.HeldShard{}, told: map[string]int{}, gone: make(chan struct{}), heard: time.Now()}
	a.server = shard.Server{
		ID: shard.MakeServerID(name, shard.App(app)), App: shard.App(app), Agent: name, Incarnation: incarnation,
		Locality: shard.Locality{Region: "r1", Zone: name}, DataAddress: "127.0.0.1:1", Labels: map[string]string{"name": name},
	}
	a.server.AgentAddress = c.serveAgent(a)
	ctx := context.Background()
	var err error
	if a.session, err = c.store.CreateSession(ctx, coord.SessionSpec{Name: name, TTL: sessionTTL, Behavior: coord.DeleteKeys}); err != nil {
		c.Fatal(err)
	}
	value, err := wire.Encode(&pb.ServerRecord{Server: wire.ServerToProto(a.server), Cluster: "c1"})
	if err != nil {
		c.Fatal(err)
	}
	key := "shardmanager/c1/servers/" + string(a.server.ID)
	if _, err := c.store.Txn(ctx, []coord.Op{
		{Verb: coord.CheckNotExists, Key: key}, {Verb: coord.Lock, Key: key, Value: value, Session: a.session},
	}); err != nil {
		c.Fatal(err)
	}
	return a
}

// die ends the agent at once: its connection breaks and its key stays.
func (a *testAgent) die() {
	a.cluster.living.Delete(string(a.server.ID))
	a.kill()
	<-a.gone
}

// run attaches, to wherever hints lead, until ctx ends or the incarnation is over.
func (a *testAgent) run(ctx context.Context, addresses []string) {
	next := addresses[0]
	for i := 1; ctx.Err() == nil; i++ {
		err := a.attach(ctx, next)
		next = addresses[i%len(addresses)]
		detail, typed := wire.DetailOf(err)
		if typed && detail.Hint != "" {
			next = detail.Hint
		}
		a.mu.Lock()
		a.attached = ""
		a.ends = append(a.ends, err)
		a.fenced = a.fenced || (typed && detail.Reason == pb.ErrorReason_ERROR_REASON_FENCED)
		over := a.fenced
		a.mu.Unlock()
		if over || !clock.Pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}

func (a *testAgent) hello() *pb.AttachRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	hello := &pb.Hello{Cluster: "c1", ProtocolVersion: 1, Server: wire.ServerToProto(a.server), HighestEpoch: a.epoch,
		Capabilities: &pb.HostCapabilities{ChangeRole: true, Membership: true}}
	for _, h := range a.held {
		hello.Held = append(hello.Held, h)
	}
	return &pb.AttachRequest{Message: &pb.AttachRequest_Hello{Hello: hello}}
}

// attach runs one stream to its end.
func (a *testAgent) attach(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	endpoint, err := breakable(ctx, address)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	stream, err := shardmanagerv1connect.NewAllocatorServiceClient(endpoint.Client, endpoint.URL).Attach(ctx)
	if err != nil {
		return err
	}
	up := make(chan *pb.AttachRequest, 1024)
	up <- a.hello()
	go a.send(ctx, stream, up)
	for {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		if answer := a.take(address, m); answer != nil {
			select {
			case up <- answer:
			case <-ctx.Done():
			}
		}
	}
}

// breakable dials so that the end of ctx breaks the connection, as the end of a process does. (The context alone does not end a stream
// whose sender is idle: net/http does not look at it then.)
func breakable(ctx context.Context, address string) (transport.Endpoint, error) {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return endpoint, err
	}
	t, ok := endpoint.Client.Transport.(*http.Transport)
	if !ok {
		return endpoint, errors.New("no http.Transport")
	}
	dial := t.DialContext
	t.DialContext = func(dialling context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(dialling, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	return endpoint, nil
}

func (a *testAgent) send(ctx context.Context, stream *connect.BidiStreamForClientSimple[pb.AttachRequest, pb.AttachResponse], up <-chan *pb.AttachRequest) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for sequence := uint64(1); ; {
		var m *pb.AttachRequest
		select {
		case m = <-up:
		case <-ticker.C:
			for _, answer := range a.afterwards() {
				if stream.Send(answer) != nil {
					return
				}
			}
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

// take does what the leader says, and returns the answer.
func (a *testAgent) take(address string, m *pb.AttachResponse) *pb.AttachRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = time.Now()
	switch m := m.Message.(type) {
	case *pb.AttachResponse_Welcome:
		a.attached, a.epoch = address, m.Welcome.Epoch
	case *pb.AttachResponse_Grant:
		if m.Grant.RemainingNs > 0 {
			a.grants++
		}
	case *pb.AttachResponse_Command:
		a.told[m.Command.Id.Shard]++
		if m.Command.Id.Kind == a.silent || slices.ContainsFunc(a.late, func(c *pb.Command) bool { return c.Id.Shard == m.Command.Id.Shard }) {
			a.late = append(a.late, m.Command)
			return nil
		}
		return a.obey(m.Command)
	case *pb.AttachResponse_Probe:
		found := pb.ProbeOutcome_PROBE_OUTCOME_SILENT
		if _, lives := a.cluster.living.Load(m.Probe.Server); lives {
			found = pb.ProbeOutcome_PROBE_OUTCOME_ANSWERED
		}
		return &pb.AttachRequest{Message: &pb.AttachRequest_ProbeAnswer{ProbeAnswer: &pb.ProbeAnswer{
			Id: m.Probe.Id, Server: m.Probe.Server, Agent: found, Application: found,
		}}}
	case *pb.AttachResponse_Fenced:
		a.fenced = true
	}
	return nil
}

// afterwards does what a callback hung in, once it does so no more.
func (a *testAgent) afterwards() (answers []*pb.AttachRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.silent != 0 {
		return nil
	}
	for _, c := range a.late {
		if answer := a.obey(c); answer != nil {
			answers = append(answers, answer)
		}
	}
	a.late = nil
	return answers
}

// obey does a command and returns the answer.
func (a *testAgent) obey(c *pb.Command) *pb.AttachRequest {
	h := &pb.HeldShard{Shard: c.Id.Shard, MaxTerm: c.Id.Term, MaxMove: c.Id.Move, Term: c.Id.Term, Activated: true}
	switch c.Id.Kind {
	case pb.CommandKind_COMMAND_KIND_ADD_SHARD:
		if h.Phase = pb.ShardPhase_SHARD_PHASE_PRIMARY; c.Role == pb.Role_ROLE_SECONDARY {
			h.Phase = pb.ShardPhase_SHARD_PHASE_SECONDARY
		}
	case pb.CommandKind_COMMAND_KIND_PREPARE_ADD_SHARD:
		h.Phase, h.Peer, h.Activated = pb.ShardPhase_SHARD_PHASE_PREPARED, c.Peer, false
	case pb.CommandKind_COMMAND_KIND_PREPARE_DROP_SHARD:
		h.Phase, h.Peer = pb.ShardPhase_SHARD_PHASE_FORWARDING, c.Peer
		h.Term = a.held[c.Id.Shard].GetTerm()
	case pb.CommandKind_COMMAND_KIND_DROP_SHARD:
		h.Phase, h.Term, h.Activated = pb.ShardPhase_SHARD_PHASE_NONE, 0, false
	case pb.CommandKind_COMMAND_KIND_UPDATE_MEMBERSHIP:
		h = a.held[c.Id.Shard]
	default:
		a.Errorf("agent %s: unexpected command %v", a.server.Agent, c)
		return nil
	}
	a.held[c.Id.Shard] = h
	return &pb.AttachRequest{Message: &pb.AttachRequest_Result{Result: &pb.Result{Command: c.Id, Status: pb.ResultStatus_RESULT_STATUS_DONE}}}
}

// serving lists the shards that it is primary of, with their terms.
func (a *testAgent) serving() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]uint64{}
	for id, h := range a.held {
		if h.Phase == pb.ShardPhase_SHARD_PHASE_PRIMARY {
			out[id] = h.Term
		}
	}
	return out
}

// commands counts what it was told to do with a shard.
func (a *testAgent) commands(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told[id]
}

// phase is how it holds a shard.
func (a *testAgent) phase(id string) pb.ShardPhase {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.held[id]; h != nil {
		return h.Phase
	}
	return pb.ShardPhase_SHARD_PHASE_NONE
}

func (a *testAgent) granted() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grants
}

func (a *testAgent) attachedTo() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attached
}

// reasons lists why its streams ended.
func (a *testAgent) reasons() []pb.ErrorReason {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []pb.ErrorReason
	for _, err := range a.ends {
		detail, _ := wire.DetailOf(err)
		out = append(out, detail.GetReason())
	}
	return out
}

// placed reports whether each of n shards is served by exactly one of the agents.
func placed(n int, agents ...*testAgent) bool {
	seen := map[string]int{}
	for _, a := range agents {
		for id := range a.serving() {
			seen[id]++
		}
	}
	for _, times := range seen {
		if times != 1 {
			return false
		}
	}
	return len(seen) == n
}

// mapShows reports whether a map names, for each shard, the agent that serves it at that term.
func mapShows(m *shard.Map, agents ...*testAgent) error {
	if m == nil {
		return errors.New("no map")
	}
	served := map[string]string{}
	for _, a := range agents {
		for id, term := range a.serving() {
			served[id] = fmt.Sprint(a.server.ID, " at ", term)
		}
	}
	for _, e := range m.Entries() {
		id := string(m.ID(e.Index))
		if says := fmt.Sprint(e.Primary, " at ", uint64(e.Term)); served[id] != says {
			return fmt.Errorf("shard %s: the map says %s, served by %q", id, says, served[id])
		}
	}
	return nil
}

func appSpec(name string, shards uint32) *pb.AppSpec {
	return &pb.AppSpec{
		Name: name, KeySpace: wire.KeySpaceToProto(shard.KeySpace{Hash: shard.HashSpace{Shards: shards}}), Replication: pb.Replication_REPLICATION_PRIMARY_ONLY,
	}
}

func (c *testCluster) createApp(n *node, name string, shards uint32) *pb.AppSpec {
	c.Helper()
	answer, err := n.admin.CreateApp(c.Context(), &pb.CreateAppRequest{Spec: appSpec(name, shards)})
	if err != nil {
		c.Fatal(err)
	}
	return answer.Spec
}

func mapOf(n *node, app string) *shard.Map {
	m, _ := n.maps.hub.Map(shard.App(app))
	return m
}

// wantDetail checks the type and text of a refusal.
func wantDetail(t *testing.T, err error, code connect.Code, reason pb.ErrorReason, mentions ...string) {
	t.Helper()
	detail, ok := wire.DetailOf(err)
	if !ok || connect.CodeOf(err) != code || detail.Reason != reason {
		t.Errorf("error %v: expected %s with %s", err, code, reason)
		return
	}
	for _, m := range mentions {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("error %v does not mention %q", err, m)
		}
	}
}
