package page

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// plane is an allocator's admin side over the real protocol, with answers made up.
type plane struct {
	shardmanagerv1connect.UnimplementedAdminServiceHandler

	mu      sync.Mutex
	leads   bool
	servers []*pb.ServerStatus
	asked   int
	after   []uint64
}

func (p *plane) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *plane) GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return &pb.GetStatusResponse{Leading: p.leads, Epoch: &pb.Epoch{Index: 4}, Unplaced: 1, Servers: 2, Attached: 2, Hold: "half of them are gone"}, nil
}

func (p *plane) ListServers(context.Context, *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &pb.ListServersResponse{Servers: p.servers}, nil
}

func (p *plane) ListMoves(context.Context, *pb.ListMovesRequest) (*pb.ListMovesResponse, error) {
	var open []*pb.MoveStatus
	for i := range moveRows + 2 {
		open = append(open, &pb.MoveStatus{Shard: fmt.Sprint(i), From: "a.kv", To: "b.kv", Step: pb.MoveStep_MOVE_STEP_ADD, Reason: pb.MoveReason_MOVE_REASON_DRAIN})
	}
	return &pb.ListMovesResponse{Open: open}, nil
}

// WatchEvents tells two more events each time.
func (p *plane) WatchEvents(_ context.Context, r *pb.WatchEventsRequest, stream *connect.ServerStream[pb.WatchEventsResponse]) error {
	at := r.GetAfter().GetSequence()
	p.set(func() { p.after = append(p.after, at) })
	var list []*pb.Event
	for range 2 {
		at++
		list = append(list, &pb.Event{Body: &pb.Event_Decision{Decision: &pb.DecisionEvent{What: fmt.Sprintf("event %d", at)}}})
	}
	return stream.Send(&pb.WatchEventsResponse{Events: list, Position: &pb.EventPosition{Sequence: at}})
}

func (p *plane) serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(p))
	server := transport.NewServer(context.Background(), mux)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listener.Addr().String()
}

func status(id, zone string, state pb.ServerState) *pb.ServerStatus {
	return &pb.ServerStatus{Server: &pb.Server{Id: id, App: "kv", Locality: &pb.Locality{Region: zone[:2], Zone: zone}}, State: state}
}

func smallMap(t *testing.T) *shard.Map {
	t.Helper()
	servers := []shard.Server{{ID: "a.kv", App: "kv", Agent: "a"}, {ID: "b.kv", App: "kv", Agent: "b"}}
	entries := []shard.Entry{{Index: 0, Primary: "a.kv", Term: 1}, {Index: 1, Primary: "b.kv", Term: 1, Secondaries: []shard.ServerID{"a.kv"}}}
	m, err := shard.NewMap("kv", shard.Version{Counter: 3}, shard.HashSpace{Shards: 2}, servers, entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func facts(list []fact) string {
	out := ""
	for _, f := range list {
		out += fmt.Sprintf("%s=%s(%t) ", f.Name, f.Value, f.Bad)
	}
	return out
}

// places is the servers of a view with their states and cells.
func places(v view) string {
	out := ""
	for _, r := range v.Regions {
		out += r.Name + "["
		for _, z := range r.Zones {
			out += z.Name + "("
			for _, s := range z.Servers {
				out += s.ID + " " + s.State
				for _, c := range s.Cells {
					out += " " + c.Shard + ":" + c.Kind
				}
			}
			out += ")"
		}
		out += "]"
	}
	return out
}

// The page, over HTTP, of a cluster with a leader, a follower and an allocator that is away; then without a leader.
func TestPageAsksTheCluster(t *testing.T) {
	t.Parallel()
	leader, follower := &plane{leads: true}, &plane{}
	leader.servers = []*pb.ServerStatus{
		status("b.kv", "us-1", pb.ServerState_SERVER_STATE_SUSPECT), status("a.kv", "eu-1", pb.ServerState_SERVER_STATE_ENDED),
		status("a.kv", "eu-1", pb.ServerState_SERVER_STATE_ATTACHED),
	}
	m := smallMap(t)
	line := 0
	c, err := newCollector(Source{
		App: "kv", Names: []string{"one", "two", "three"}, Admins: []string{follower.serve(t), leader.serve(t), "127.0.0.1:1"},
		Map: func() *shard.Map { return m }, Player: idle(),
		Load: func() Sample {
			line++
			return Sample{Line: line, Requests: int64(100 * line), Second: 100, SecondFailed: int64(line % 2), LostWrites: 2}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	v := c.now(t.Context())
	if got := facts(v.Health); !strings.HasPrefix(got, "allocators=one follows, two leads, three silent(true) epoch=0.4(false) map version=0.0.3(false)") ||
		!strings.Contains(got, "shards without a primary=1(true)") || !strings.Contains(got, "hold=half of them are gone(true)") {
		t.Errorf("health: %s", got)
	}
	if got, want := places(v), "eu[eu-1(a.kv attached 0:leaving 1:secondary)]us[us-1(b.kv suspect 0:arriving 1:primary)]"; got != want {
		t.Errorf("servers: %s, want %s", got, want)
	}
	if v.OpenMoves != moveRows+2 || v.MoreMoves != 2 || len(v.Moves) != moveRows || v.Moves[0].Done != 5 || v.Trouble != "" {
		t.Errorf("%d moves, %d more, trouble %q", v.OpenMoves, v.MoreMoves, v.Trouble)
	}
	if got := facts(v.Promises); !strings.HasPrefix(got, "acknowledged writes lost=2(true)") {
		t.Errorf("promises: %s", got)
	}
	base := serve(t, handler(c.now, idle()))
	if _, text := do(t, http.MethodGet, base+"/live", nil, nil); !strings.Contains(text, "two leads") || !strings.Contains(text, "event 2") {
		t.Errorf("over HTTP: %s", text)
	}

	leader.set(func() { leader.servers = leader.servers[:1] })
	c.view.At = time.Time{}
	v = c.now(t.Context())
	if got := places(v); !strings.Contains(got, "a.kv gone") {
		t.Errorf("a server that is not listed any more: %s", got)
	}
	if len(v.Events) != 4 || v.Events[0].What != "event 4" || leader.after[1] != 2 {
		t.Errorf("events %v, asked for after %v", v.Events, leader.after)
	}
	if len(v.Load.Rate) != 2 || len(v.Load.Failures) != 1 || v.Load.Rate[1].X != chartSeconds-1 {
		t.Errorf("chart %v", v.Load)
	}

	leader.set(func() { leader.leads = false })
	c.view.At = time.Time{}
	v = c.now(t.Context())
	if v.Trouble == "" || !strings.Contains(places(v), "b.kv suspect") || !v.Health[0].Bad {
		t.Errorf("without a leader: trouble %q, %s, %s", v.Trouble, places(v), facts(v.Health))
	}
}

// However many look, the cluster is asked once, and nobody looks: not at all.
func TestTheClusterIsAskedSeldom(t *testing.T) {
	t.Parallel()
	p := &plane{leads: true}
	c, err := newCollector(Source{
		App: "kv", Names: []string{"one"}, Admins: []string{p.serve(t)}, Map: func() *shard.Map { return nil }, Load: func() Sample { return Sample{} }, Player: idle(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.now(t.Context())
	c.view.At = time.Now().Add(time.Hour) // fresh, however slow this machine is
	var looking sync.WaitGroup
	for range 20 {
		looking.Go(func() { c.now(t.Context()) })
	}
	looking.Wait()
	if p.asked != 1 {
		t.Errorf("asked %d times", p.asked)
	}
}

// A port that is taken is an error that says so, and nothing stays behind.
func TestOpenAndClose(t *testing.T) {
	t.Parallel()
	source := Source{Map: func() *shard.Map { return nil }, Load: func() Sample { return Sample{} }, Player: idle()}
	p, err := Open("127.0.0.1:0", source)
	if err != nil {
		t.Fatal(err)
	}
	if answer, text := do(t, http.MethodGet, p.URL(), nil, nil); answer.StatusCode != http.StatusOK || !strings.Contains(text, "nobody leads") {
		t.Errorf("%s: %s", answer.Status, text)
	}
	if _, err := Open(p.address, source); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second one: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", p.address, time.Second); err == nil {
		t.Error("it still listens")
	}
}
