package allocator

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// seenAgent answers standbys for a testAgent.
type seenAgent struct {
	shardmanagerv1connect.UnimplementedAgentServiceHandler
	a *testAgent
}

func (s *seenAgent) LeaderSeen(context.Context, *pb.LeaderSeenRequest) (*pb.LeaderSeenResponse, error) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	return &pb.LeaderSeenResponse{Agent: s.a.server.Agent, Asking: true, Epoch: s.a.epoch, SilentMs: time.Since(s.a.heard).Milliseconds()}, nil
}

// serveAgent opens an agent's own listener.
func (c *testCluster) serveAgent(a *testAgent) string {
	c.Helper()
	l := c.listener()
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAgentServiceHandler(&seenAgent{a: a}))
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(l) }()
	c.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// ice stops an allocator's traffic in both directions, as SIGSTOP does: its connections stay open, and nobody gets an answer.
type ice struct {
	mu     sync.Mutex
	thawed chan struct{} // nil: not frozen
}

func (i *ice) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.thawed = make(chan struct{})
}

func (i *ice) thaw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thawed != nil {
		close(i.thawed)
		i.thawed = nil
	}
}

func (i *ice) wait() {
	i.mu.Lock()
	thawed := i.thawed
	i.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
}

type icyListener struct {
	net.Listener
	ice *ice
}

func (l *icyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &icyConn{Conn: c, ice: l.ice}, nil
}

type icyConn struct {
	net.Conn
	ice *ice
}

func (c *icyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.ice.wait()
	return n, err
}

func (c *icyConn) Write(b []byte) (int, error) {
	c.ice.wait()
	return c.Conn.Write(b)
}

// freezable runs an allocator that can be frozen, its way to the store included.
func (c *testCluster) freezable(name string) (*node, func(), func()) {
	c.Helper()
	i, g := new(ice), &gate{Store: c.store}
	a, err := New(fastConfig(name, c.TempDir()), Deps{
		Store: g, Log: zerolog.New(zerolog.NewTestWriter(c.T)).Level(zerolog.WarnLevel), Version: "test",
		Listener: &icyListener{c.listener(), i}, AdminListener: &icyListener{c.listener(), i},
	})
	if err != nil {
		c.Fatal(err)
	}
	n := c.runNode(a)
	freeze := func() { g.set(true); i.freeze() }
	thaw := func() { i.thaw(); g.set(false) }
	c.Cleanup(thaw)
	return n, freeze, thaw
}

// A leader that stops answering is unseated by a standby, long before its session ends by itself: here it never does. When it comes to itself
// it leads no longer.
func TestStoppedLeaderIsUnseated(t *testing.T) {
	t.Parallel()
	still := shard.Instant{Boot: 1, Raw: 1}
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{Now: func() shard.Instant { return still }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := &testCluster{T: t, store: store}
	first, freeze, thaw := c.freezable("a1")
	c.leader(first)
	second, third := c.start("a2"), c.start("a3")
	x, y := c.agent("x", "kv", 1, first, second, third), c.agent("y", "kv", 1, first, second, third)
	c.createApp(first, "kv", 4)
	eventually(t, "placed", func() bool { return placed(4, x, y) })
	box := first.leading.Load()
	before, _ := c.lockEntry()

	freeze()
	next := c.leader(second, third)
	after, record := c.lockEntry()
	if after.Session == before.Session || record.Allocator != next.cfg.Name || record.Life == 0 {
		t.Errorf("lock of %s, held by session %s, before by %s", record.Allocator, after.Session, before.Session)
	}
	granted := x.granted() + y.granted()
	eventually(t, "agents renew with the new leader", func() bool { return x.granted()+y.granted() > granted+2 })

	thaw()
	<-box.Ended()
	eventually(t, "the old leader follows", func() bool { return first.Status().Leader == next.cfg.Name })
	if now, _ := c.lockEntry(); now.Session != after.Session {
		t.Error("the lock changed hands again")
	}
	if !placed(4, x, y) {
		t.Errorf("placed %v and %v: nothing happened to them", x.serving(), y.serving())
	}
}

// Whoever still answers is not unseated, whatever one standby can see: here its agents live, and the standby cannot reach it.
func TestLeaderThatAnswersAgentsStays(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	first := c.start("a1")
	c.leader(first)
	x, y := c.agent("x", "kv", 1, first), c.agent("y", "kv", 1, first)
	eventually(t, "attached", func() bool { return x.attachedTo() != "" && y.attachedTo() != "" })
	before, record := c.lockEntry()
	// The standby is shown an address where nobody answers.
	cfg := fastConfig("a2", t.TempDir())
	l := c.listener()
	t.Cleanup(func() { _ = l.Close() })
	var asked atomic.Int32
	a, err := New(cfg, Deps{
		Store: c.store, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel), Listener: c.listener(), AdminListener: c.listener(),
		Dial: func(address string) (transport.Endpoint, error) {
			if address == x.server.AgentAddress {
				asked.Add(1)
			}
			if address == record.AdminAddress {
				address = l.Addr().String()
			}
			return transport.Dial(address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.runNode(a)
	eventually(t, "it asks again and again", func() bool { return asked.Load() >= 8 })
	if after, _ := c.lockEntry(); after.Session != before.Session || after.Modify != before.Modify {
		t.Errorf("lock %+v, before %+v", after, before)
	}
}
