package allocator

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// testCluster is a real store and the allocators on it, in this process.
type testCluster struct {
	*testing.T
	store  coord.Store
	living sync.Map // ids of servers whose agents answer probes
}

func newTestCluster(t *testing.T) *testCluster {
	t.Helper()
	return &testCluster{T: t, store: openStore(t)}
}

// node is a running allocator.
type node struct {
	*Allocator
	stop  context.CancelFunc
	ended chan error
	admin shardmanagerv1connect.AdminServiceClient
}

func fastConfig(name, dir string) Config {
	cfg := DefaultConfig()
	cfg.Cluster, cfg.Name, cfg.StateDir = "c1", name, dir
	cfg.LeaseInterval, cfg.LeaseValidity, cfg.LeaderValidity = 100*time.Millisecond, 600*time.Millisecond, time.Second
	cfg.AgentGrace, cfg.PartitionGrace, cfg.Linger = 20*time.Second, 30*time.Second, 20*time.Millisecond // patient with a busy machine
	return cfg
}

func (c *testCluster) start(name string) *node {
	return c.startOn(c.store, fastConfig(name, c.TempDir()))
}

// startOn runs an allocator until the test ends or stops it.
func (c *testCluster) startOn(store coord.Store, cfg Config) *node {
	c.Helper()
	a, err := New(cfg, Deps{
		Store: store, Log: zerolog.New(zerolog.NewTestWriter(c.T)).Level(zerolog.WarnLevel),
		Listener: c.listener(), AdminListener: c.listener(), Version: "test",
	})
	if err != nil {
		c.Fatal(err)
	}
	return c.runNode(a)
}

// runNode runs an allocator that was made.
func (c *testCluster) runNode(a *Allocator) *node {
	c.Helper()
	ctx, stop := context.WithCancel(context.Background())
	n := &node{Allocator: a, stop: stop, ended: make(chan error, 1)}
	endpoint, err := transport.Dial(a.deps.AdminListener.Addr().String())
	if err != nil {
		c.Fatal(err)
	}
	n.admin = shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL)
	go func() { n.ended <- a.Run(ctx) }()
	c.Cleanup(func() {
		n.halt(c.T)
		endpoint.Close()
	})
	return n
}

// halt stops an allocator in order and waits for its end.
func (n *node) halt(t *testing.T) {
	t.Helper()
	n.stop()
	select {
	case err := <-n.ended:
		n.ended <- err
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("allocator %s: %v", n.cfg.Name, err)
		}
	case <-time.After(patience):
		t.Fatalf("allocator %s does not end", n.cfg.Name)
	}
}

func (c *testCluster) listener() net.Listener {
	c.Helper()
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	return l
}

// leader waits until one of the nodes leads and may grant.
func (c *testCluster) leader(nodes ...*node) *node {
	c.Helper()
	var leads *node
	eventually(c.T, "somebody leads", func() bool {
		for _, n := range nodes {
			if n.Leader() == nil {
				continue
			}
			if view, err := n.Leader().View(c.Context()); err == nil && view.Summary.Leading {
				leads = n
			}
		}
		return leads != nil
	})
	return leads
}

// lockEntry reads the lock.
func (c *testCluster) lockEntry() (coord.Entry, *pb.LeaderRecord) {
	c.Helper()
	entry, found, err := c.store.Get(context.Background(), "shardmanager/c1/g/default/leader")
	if err != nil {
		c.Fatal(err)
	}
	record := new(pb.LeaderRecord)
	if found {
		if err := wire.Decode(entry.Value, record); err != nil {
			c.Fatal(err)
		}
	}
	return entry, record
}

// unseat ends the leader's session behind its back.
func (c *testCluster) unseat() {
	c.Helper()
	entry, _ := c.lockEntry()
	if err := c.store.DestroySession(context.Background(), entry.Session); err != nil {
		c.Fatal(err)
	}
}

// gate lets calls to a store through, or makes them fail like a store that cannot be reached.
type gate struct {
	coord.Store
	mu     sync.Mutex
	closed bool
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

func (g *gate) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return coord.ErrUnavailable
	}
	return nil
}

func (g *gate) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	return g.Store.Txn(ctx, ops)
}

func (g *gate) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	if err := g.check(); err != nil {
		return coord.Entry{}, false, err
	}
	return g.Store.Get(ctx, key)
}

func (g *gate) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return g.Store.List(ctx, prefix)
}

func (g *gate) CreateSession(ctx context.Context, spec coord.SessionSpec) (coord.SessionID, error) {
	if err := g.check(); err != nil {
		return "", err
	}
	return g.Store.CreateSession(ctx, spec)
}

func (g *gate) RenewSession(ctx context.Context, id coord.SessionID) (bool, error) {
	if err := g.check(); err != nil {
		return false, err
	}
	return g.Store.RenewSession(ctx, id)
}

func (g *gate) DestroySession(ctx context.Context, id coord.SessionID) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.Store.DestroySession(ctx, id)
}

func (g *gate) Watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.Store.Watch(ctx, prefix, fn)
}
