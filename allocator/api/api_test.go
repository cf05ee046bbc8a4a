package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/regions"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/webhook"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const patience = time.Minute

// recorder stands in for the loop: it keeps the events that it is given.
type recorder struct {
	events chan ledger.Event
	ended  chan struct{}
	once   sync.Once
	ask    func(wish.Wish) (ledger.Reply, error)
	view   func(context.Context) (*api.View, error) // nil: a leader that is well
	known  api.Explained
}

func newRecorder() *recorder {
	return &recorder{events: make(chan ledger.Event, 100), ended: make(chan struct{})}
}

func (r *recorder) Post(ctx context.Context, event ledger.Event) error {
	select {
	case <-r.ended:
		return api.ErrNotLeading
	default:
	}
	select {
	case r.events <- event:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *recorder) Ask(_ context.Context, wish wish.Wish) (ledger.Reply, error) { return r.ask(wish) }
func (r *recorder) Explain(context.Context, shard.App, shard.ID) (*api.Explained, error) {
	return &r.known, nil
}

func (r *recorder) View(ctx context.Context) (*api.View, error) {
	if r.view != nil {
		return r.view(ctx)
	}
	return &api.View{Summary: report.Summary{Leading: true}}, nil
}
func (r *recorder) Ended() <-chan struct{} { return r.ended }
func (r *recorder) end()                   { r.once.Do(func() { close(r.ended) }) }

// next returns the next event.
func (r *recorder) next(t *testing.T) ledger.Event {
	t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		return nil
	}
}

type testNode struct {
	mu     sync.Mutex
	leader *recorder
	status api.Status
}

func (n *testNode) Leader() api.Leader {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leader == nil {
		return nil
	}
	return n.leader
}

func (n *testNode) Status() api.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

type server struct {
	*testing.T
	node     *testNode
	events   *events.Log
	news     *feed.Feed
	hooks    *webhook.Sender
	attach   *api.Attach
	places   *regions.Keeper
	endpoint transport.Endpoint
}

func newServer(t *testing.T) *server {
	t.Helper()
	return newServerIn(t, nil)
}

// newServerIn is a leader that takes part in gossip.
func newServerIn(t *testing.T, gossip api.Gossip) *server {
	t.Helper()
	s := &server{T: t, events: events.NewLog(), places: regions.NewKeeper(clock.Now, latency.Matrix{}), node: &testNode{leader: newRecorder(), status: api.Status{Cluster: "c1", Name: "a1"}}}
	s.attach = api.NewAttach(s.node, s.places)
	s.news = feed.New(s.events, 0)
	s.hooks = webhook.New(nil, webhook.Deps{Events: s.events})
	hub := mapfeed.NewHub(mapfeed.HubConfig{})
	policies, err := resolve.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := api.DataMux(s.node, s.attach, hub)
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(api.NewAdmin(s.node, hub, s.attach, s.news, s.places, gossip, policies, s.hooks)))
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := transport.NewServer(ctx, mux)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	if s.endpoint, err = transport.Dial(l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		s.endpoint.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return s
}

type stream = connect.BidiStreamForClientSimple[pb.AttachRequest, pb.AttachResponse]

// open attaches a server and returns its stream and hello event.
func (s *server) open(ctx context.Context) (*stream, ledger.Hello) {
	s.Helper()
	conn, err := shardmanagerv1connect.NewAllocatorServiceClient(s.endpoint.Client, s.endpoint.URL).Attach(ctx)
	if err != nil {
		s.Fatal(err)
	}
	s.send(conn, &pb.AttachRequest{Message: &pb.AttachRequest_Hello{Hello: &pb.Hello{
		Cluster: "c1", ProtocolVersion: 1, AgentVersion: "v1", Draining: true, HighestEpoch: &pb.Epoch{Index: 5},
		Server:       &pb.Server{Id: "x.kv", App: "kv", Agent: "x", Incarnation: 7},
		Held:         []*pb.HeldShard{{Shard: "3", Phase: pb.ShardPhase_SHARD_PHASE_PRIMARY, Term: 2, MaxTerm: 2, MaxMove: 4, Activated: true}},
		Capabilities: &pb.HostCapabilities{ChangeRole: true, Membership: true},
	}}})
	hello, ok := s.node.leader.next(s.T).(ledger.Hello)
	if !ok {
		s.Fatal("the first event is no hello")
	}
	return conn, hello
}

func (s *server) send(conn *stream, m *pb.AttachRequest) {
	s.Helper()
	if err := conn.Send(m); err != nil {
		s.Fatal(err)
	}
}

// Every message of an agent becomes its event, in order.
func TestMessagesUp(t *testing.T) {
	s := newServer(t)
	conn, hello := s.open(t.Context())
	id := hello.Stream
	want := ledger.Hello{
		Stream: id, Server: shard.Server{ID: "x.kv", App: "kv", Agent: "x", Incarnation: 7}, Draining: true, HighestEpoch: shard.Epoch{Index: 5},
		Held:       []shard.Held{{Shard: "3", Phase: shard.Serving, Term: 2, Max: shard.Order{Term: 2, Move: 4}, Activated: true}},
		Replicates: true,
	}
	if d := cmp.Diff(want, hello); d != "" {
		t.Errorf("hello (-want +got):\n%s", d)
	}
	for _, test := range []struct {
		message *pb.AttachRequest
		want    ledger.Event
	}{
		{
			&pb.AttachRequest{Message: &pb.AttachRequest_Renew{Renew: &pb.Renew{
				Sequence: 4, AskedNs: 99, ServeOn: true, Loads: []*pb.ShardLoad{{Shard: "3", Load: map[string]int64{"cpu": 8}}},
			}}},
			ledger.Renew{Stream: id, Sequence: 4, AskedNS: 99, ServeOn: true, Loads: []ledger.ShardLoad{{Shard: "3", Load: map[string]int64{"cpu": 8}}}},
		},
		{
			&pb.AttachRequest{Message: &pb.AttachRequest_Result{Result: &pb.Result{
				Command: &pb.CommandId{Epoch: &pb.Epoch{Index: 5}, Incarnation: 7, Shard: "3", Term: 2, Move: 4, Kind: pb.CommandKind_COMMAND_KIND_DROP_SHARD},
				Status:  pb.ResultStatus_RESULT_STATUS_FAILED, Error: "no",
			}}},
			ledger.Result{Stream: id, Status: ledger.Failed, Err: "no", ID: message.CommandID{
				Epoch: shard.Epoch{Index: 5}, Incarnation: 7, Shard: "3", Order: shard.Order{Term: 2, Move: 4}, Kind: message.DropShard,
			}},
		},
		{
			&pb.AttachRequest{Message: &pb.AttachRequest_ProbeAnswer{ProbeAnswer: &pb.ProbeAnswer{
				Id: 3, Server: "y.kv", Agent: pb.ProbeOutcome_PROBE_OUTCOME_REFUSED, Application: pb.ProbeOutcome_PROBE_OUTCOME_SILENT,
			}}},
			ledger.ProbeAnswer{Stream: id, ID: 3, Server: "y.kv", Agent: evidence.Refused, Application: evidence.Silent},
		},
		{
			&pb.AttachRequest{Message: &pb.AttachRequest_Drain{Drain: &pb.DrainRequested{On: true}}},
			ledger.DrainRequested{Stream: id, On: true},
		},
		{
			&pb.AttachRequest{Message: &pb.AttachRequest_Rest{Rest: &pb.RestRequested{LengthNs: int64(time.Second), Sequence: 2}}},
			ledger.RestRequested{Stream: id, Length: time.Second, Sequence: 2},
		},
		{
			&pb.AttachRequest{Message: &pb.AttachRequest_Ended{Ended: &pb.Ended{Incarnation: 7, ProvenDead: true, Reason: "exit 1"}}},
			ledger.Ended{Stream: id, Incarnation: 7, ProvenDead: true, Reason: "exit 1"},
		},
	} {
		s.send(conn, test.message)
		if d := cmp.Diff(test.want, s.node.leader.next(t)); d != "" {
			t.Errorf("%v (-want +got):\n%s", test.message, d)
		}
	}
	s.send(conn, new(pb.AttachRequest)) // of a newer protocol: ignored
	if err := conn.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ledger.Event(ledger.Detached{Stream: id}), s.node.leader.next(t)); d != "" {
		t.Errorf("after an orderly end:\n%s", d)
	}
	if _, err := conn.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
}

func TestBrokenStreamIsAReset(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, hello := s.open(ctx)
	cancel()
	if d := cmp.Diff(ledger.Event(ledger.Detached{Stream: hello.Stream, Reset: true}), s.node.leader.next(t)); d != "" {
		t.Error(d)
	}
}

// Whatever an allocator commands, an agent can answer.
func TestResultsOfEveryKind(t *testing.T) {
	s := newServer(t)
	conn, hello := s.open(t.Context())
	for number := range pb.CommandKind_name {
		if number == 0 {
			continue
		}
		s.send(conn, &pb.AttachRequest{Message: &pb.AttachRequest_Result{Result: &pb.Result{
			Command: &pb.CommandId{Epoch: &pb.Epoch{Index: 5}, Incarnation: 7, Shard: "3", Kind: pb.CommandKind(number)}, Status: pb.ResultStatus_RESULT_STATUS_DONE,
		}}})
		got, ok := s.node.leader.next(t).(ledger.Result)
		if want := message.Kind(number); !ok || got.ID.Kind != want || got.Stream != hello.Stream {
			t.Errorf("result of %v: %+v", pb.CommandKind(number), got)
		}
	}
}

// What makes no sense ends the stream and says what is wrong.
func TestSenselessMessages(t *testing.T) {
	for field, m := range map[string]*pb.AttachRequest{
		"hello":                    {Message: &pb.AttachRequest_Hello{Hello: &pb.Hello{}}},
		"result.status":            {Message: &pb.AttachRequest_Result{Result: &pb.Result{Status: 99}}},
		"result.command.kind":      {Message: &pb.AttachRequest_Result{Result: &pb.Result{Status: 1}}},
		"probe_answer.agent":       {Message: &pb.AttachRequest_ProbeAnswer{ProbeAnswer: &pb.ProbeAnswer{Application: 1}}},
		"probe_answer.application": {Message: &pb.AttachRequest_ProbeAnswer{ProbeAnswer: &pb.ProbeAnswer{Agent: 1}}},
		"rest.length_ns":           {Message: &pb.AttachRequest_Rest{Rest: &pb.RestRequested{LengthNs: -1}}},
	} {
		t.Run(field, func(t *testing.T) {
			s := newServer(t)
			conn, hello := s.open(t.Context())
			s.send(conn, m)
			_, err := conn.Receive()
			if detail, _ := wire.DetailOf(err); connect.CodeOf(err) != connect.CodeInvalidArgument || detail.GetSubject() != field {
				t.Errorf("error %v: expected INVALID of %s", err, field)
			}
			if d := cmp.Diff(ledger.Event(ledger.Detached{Stream: hello.Stream, Reset: true}), s.node.leader.next(t)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Every body that the ledger sends reaches the agent, in order; those that are the last end the stream.
func TestMessagesDown(t *testing.T) {
	s := newServer(t)
	conn, hello := s.open(t.Context())
	epoch := shard.Epoch{Index: 5}
	bodies := []message.Body{
		message.Welcome{Epoch: epoch, Interval: time.Second, Validity: 6 * time.Second},
		message.Grant{Sequence: 1, Remaining: 5 * time.Second, ServeOn: true},
		message.RestGranted{Sequence: 2, Remaining: time.Second},
		message.Command{
			ID:   message.CommandID{Epoch: epoch, Incarnation: 7, Shard: "3", Order: shard.Order{Term: 2, Move: 4}, Kind: message.PrepareAddShard},
			Peer: shard.Peer{Server: "y.kv", Incarnation: 8, DataAddress: "h:1"}, Deadline: 10 * time.Second, Role: shard.Secondary,
			Members: []shard.Member{{Peer: shard.Peer{Server: "z.kv", Incarnation: 9, DataAddress: "h:2"}, InSync: true}},
		},
		message.Probe{ID: 3, Target: shard.Server{ID: "y.kv", Incarnation: 8, AgentAddress: "h:2", DataAddress: "h:1"}, Timeout: time.Second},
		message.DrainProgress{Remaining: 4},
		message.Fenced{Incarnation: 7, Reason: "silent"},
	}
	want := []*pb.AttachResponse{
		{Message: &pb.AttachResponse_Welcome{Welcome: &pb.Welcome{Epoch: &pb.Epoch{Index: 5}, IntervalMs: 1000, ValidityMs: 6000}}},
		{Message: &pb.AttachResponse_Grant{Grant: &pb.Grant{Sequence: 1, RemainingNs: 5e9, ServeOn: true}}},
		{Message: &pb.AttachResponse_RestGranted{RestGranted: &pb.RestGranted{Sequence: 2, RemainingNs: 1e9}}},
		{Message: &pb.AttachResponse_Command{Command: &pb.Command{
			Id: &pb.CommandId{
				Epoch: &pb.Epoch{Index: 5}, Incarnation: 7, Shard: "3", Term: 2, Move: 4, Kind: pb.CommandKind_COMMAND_KIND_PREPARE_ADD_SHARD,
			},
			Peer: &pb.Peer{Server: "y.kv", Incarnation: 8, DataAddress: "h:1"}, DeadlineMs: 10_000, Role: pb.Role_ROLE_SECONDARY,
			Members: []*pb.Member{{Peer: &pb.Peer{Server: "z.kv", Incarnation: 9, DataAddress: "h:2"}, InSync: true}},
		}}},
		{Message: &pb.AttachResponse_Probe{Probe: &pb.Probe{
			Id: 3, Server: "y.kv", Incarnation: 8, AgentAddress: "h:2", DataAddress: "h:1", TimeoutMs: 1000,
		}}},
		{Message: &pb.AttachResponse_DrainProgress{DrainProgress: &pb.DrainProgress{Remaining: 4}}},
		{Message: &pb.AttachResponse_Fenced{Fenced: &pb.Fenced{Incarnation: 7, Reason: "silent"}}},
	}
	for _, b := range bodies {
		s.attach.Send([]ledger.Message{{Stream: hello.Stream, Body: b}, {Stream: hello.Stream + 1, Body: b}})
	}
	s.attach.Send([]ledger.Message{{Stream: hello.Stream, Body: message.DrainProgress{}}}) // after the end: swallowed
	for _, w := range want {
		got, err := conn.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(w, got, protocmp.Transform()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	_, err := conn.Receive()
	if detail, _ := wire.DetailOf(err); detail.GetReason() != pb.ErrorReason_ERROR_REASON_FENCED {
		t.Errorf("the stream ends with %v", err)
	}
}

func TestStreamEnds(t *testing.T) {
	for name, test := range map[string]struct {
		body   message.Body
		code   connect.Code
		reason pb.ErrorReason
	}{
		"duplicate": {message.Refuse{Duplicate: true, Reason: "x"}, connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_DUPLICATE_SERVER},
		"retry":     {message.Refuse{Retry: true, Reason: "x"}, connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_STORE},
		"refused":   {message.Refuse{Reason: "x"}, connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE},
		"closed":    {message.Close{Reason: "x"}, connect.CodeAborted, pb.ErrorReason_ERROR_REASON_UNSPECIFIED},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			conn, hello := s.open(t.Context())
			s.attach.Send([]ledger.Message{{Stream: hello.Stream, Body: test.body}})
			_, err := conn.Receive()
			detail, _ := wire.DetailOf(err)
			if connect.CodeOf(err) != test.code || detail.GetReason() != test.reason {
				t.Errorf("error %v: expected %s with %s", err, test.code, test.reason)
			}
		})
	}
}

// The leadership ends: every stream is told, with the address of the next leader where it is known.
func TestLeadershipEnds(t *testing.T) {
	s := newServer(t)
	conn, _ := s.open(t.Context())
	s.node.mu.Lock()
	s.node.status.Leader, s.node.status.LeaderData = "a2", "h:7410"
	s.node.mu.Unlock()
	s.node.leader.end()
	_, err := conn.Receive()
	if detail, _ := wire.DetailOf(err); detail.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER || detail.GetHint() != "h:7410" {
		t.Errorf("error %v", err)
	}
}

// An agent that does not read loses its stream, at the limit and not before.
func TestSlowReaderLosesItsStream(t *testing.T) {
	s := newServer(t)
	conn, hello := s.open(t.Context())
	big := ledger.Message{Stream: hello.Stream, Body: message.Command{Peer: shard.Peer{Server: shard.ServerID(make([]byte, 1024))}}}
	flood := make([]ledger.Message, 1024)
	for i := range flood {
		flood[i] = big
	}
	// 64 MiB and more: no window of the connection takes that. The stream's end is the proof.
	for range 4 * api.MaxOutgoing / len(flood) {
		s.attach.Send(flood)
	}
	if d := cmp.Diff(ledger.Event(ledger.Detached{Stream: hello.Stream, Reset: true}), s.drainUntilDetached(conn)); d != "" {
		t.Error(d)
	}
}

func (s *server) drainUntilDetached(conn *stream) ledger.Event {
	s.Helper()
	for {
		if _, err := conn.Receive(); err != nil {
			if connect.CodeOf(err) != connect.CodeResourceExhausted {
				s.Errorf("the stream ends with %v", err)
			}
			return s.node.leader.next(s.T)
		}
	}
}

// Health is honest: what needs the store, the loop or the lock says so, the agents' service is served by the leader alone, and maps are
// served whatever happens.
func TestHealth(t *testing.T) {
	const attach, maps = shardmanagerv1connect.AllocatorServiceName, shardmanagerv1connect.ShardMapServiceName
	for name, test := range map[string]struct {
		leads   bool
		trouble string
		view    func(context.Context) (*api.View, error)
		serving map[string]bool
	}{
		"leader":          {leads: true, serving: map[string]bool{"": true, attach: true, maps: true}},
		"follower":        {serving: map[string]bool{"": true, attach: false, maps: true}},
		"without a store": {leads: true, trouble: "gone", serving: map[string]bool{"": false, attach: false, maps: true}},
		"may not grant": {
			leads: true, view: func(context.Context) (*api.View, error) { return new(api.View), nil },
			serving: map[string]bool{"": false, attach: false, maps: true},
		},
		"stuck": {leads: true, view: func(ctx context.Context) (*api.View, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, serving: map[string]bool{"": false, attach: false, maps: true}},
		"stepped down meanwhile": {
			leads: true, view: func(context.Context) (*api.View, error) { return nil, api.ErrNotLeading },
			serving: map[string]bool{"": true, attach: false, maps: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.node.mu.Lock()
			s.node.leader.view = test.view
			if s.node.status.StoreTrouble = test.trouble; !test.leads {
				s.node.leader = nil
			}
			s.node.mu.Unlock()
			for service, want := range test.serving {
				answer, err := s.endpoint.Client.Post(s.endpoint.URL+"/grpc.health.v1.Health/Check", "application/json",
					strings.NewReader(fmt.Sprintf(`{"service":%q}`, service)))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if got := strings.Contains(string(body), `_SERVING"`) && !strings.Contains(string(body), "NOT"); got != want {
					t.Errorf("service %q: %s, expected serving: %t", service, body, want)
				}
			}
		})
	}
}

// The one table of refusals.
func TestRefusedWishes(t *testing.T) {
	s := newServer(t)
	client := shardmanagerv1connect.NewAdminServiceClient(s.endpoint.Client, s.endpoint.URL)
	for kind, want := range map[ledger.ErrorKind]connect.Code{
		ledger.Invalid: connect.CodeInvalidArgument, ledger.NotFound: connect.CodeNotFound, ledger.AlreadyExists: connect.CodeAlreadyExists,
		ledger.Conflict: connect.CodeAborted, ledger.Unsupported: connect.CodeUnimplemented, ledger.NotNow: connect.CodeUnavailable,
	} {
		s.node.leader.ask = func(wish.Wish) (ledger.Reply, error) {
			return ledger.Reply{Err: &ledger.RequestError{Kind: kind, Subject: "subject", Expected: "expected"}}, nil
		}
		_, err := client.DeleteApp(t.Context(), &pb.DeleteAppRequest{Name: "kv"})
		detail, _ := wire.DetailOf(err)
		if connect.CodeOf(err) != want || detail.GetSubject() != "subject" || detail.GetExpected() != "expected" {
			t.Errorf("kind %d: %v, expected %s", kind, err, want)
		}
	}
	s.node.leader.ask = func(wish.Wish) (ledger.Reply, error) { return ledger.Reply{}, fmt.Errorf("x: %w", api.ErrNotLeading) }
	_, err := client.DeleteApp(t.Context(), &pb.DeleteAppRequest{Name: "kv"})
	if detail, _ := wire.DetailOf(err); detail.GetReason() != pb.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME {
		t.Errorf("interrupted: %v", err)
	}
}
