package virtual

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/memnet"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/surroundings"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// SettleTime is how long the shards of a Cluster without faults may take until all are served: a lease that was lost is waited for, and so is a move
// that has to be called off.
const SettleTime = 5 * time.Minute

// Nodes of the network beside servers and agents.
const (
	allocatorNode = "allocator"
	clientNode    = "client"
)

// Cluster is an app's servers with their agents, and the leader that places its shards. Its methods may be called from any goroutine of the bubble.
type Cluster struct {
	t       testing.TB
	cfg     Config
	app     sdktest.App
	checker *ownership.Checker
	net     *memnet.Network
	servers []*Server
	space   shard.HashSpace
	hub     *mapfeed.Hub
	faults  faults
	ctx     context.Context // ends with the cluster
	cancel  context.CancelFunc
	running sync.WaitGroup // goroutines that end with ctx

	mu      sync.Mutex
	changed chan struct{} // closed at every change of what follows
	// What the store holds, which outlives leaders.
	rows     map[string]*row
	lives    map[holder]*life
	used     uint64 // highest incarnation given out
	leader   *leader
	epoch    uint64
	counter  uint64 // of the map's versions
	drained  map[string]bool
	load     *load
	stopping bool
}

func newCluster(t testing.TB, cfg Config) *Cluster {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cluster{
		t: t, cfg: cfg, checker: ownership.New(), net: memnet.New(cfg.Delay), space: shard.HashSpace{Shards: uint32(cfg.Shards)},
		hub: mapfeed.NewHub(mapfeed.HubConfig{}), ctx: ctx, cancel: cancel, changed: make(chan struct{}),
		rows: map[string]*row{}, lives: map[holder]*life{}, drained: map[string]bool{},
	}
	c.app = cfg.App(c.checker)
	for i := range shard.Index(c.space.Shards) {
		c.rows[string(c.space.ID(i))] = &row{id: string(c.space.ID(i)), index: i}
	}
	c.serveMaps()
	for i := range cfg.Servers {
		s := newServer(c, string(rune('a'+i)))
		c.servers = append(c.servers, s)
		s.agent.start()
		s.start()
	}
	c.elect()
	return c
}

// serveMaps answers Routers where the allocators are.
func (c *Cluster) serveMaps() {
	listener, err := c.net.Listen(allocatorNode + ":80")
	if err != nil {
		c.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(c.hub))
	c.serve(c.ctx, listener, mux)
}

// Checker is what watches.
func (c *Cluster) Checker() *ownership.Checker { return c.checker }

// Shards are the ids of all shards, in order.
func (c *Cluster) Shards() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return shard.SortedKeys(c.rows)
}

// Server is one of the servers by its short name, a for instance. One that does not exist ends the test.
func (c *Cluster) Server(name string) *Server {
	c.t.Helper()
	for _, s := range c.servers {
		if s.Name == name {
			return s
		}
	}
	c.t.Fatalf("virtual: server %q: there is none of that name", name)
	return nil
}

// Servers are all of them, by name.
func (c *Cluster) Servers() []*Server { return slices.Clone(c.servers) }

// Owner is the short name of the server to which the leader gave the shard last, and that said that it serves it; empty: none at present.
func (c *Cluster) Owner(shardID string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.rows[shardID]; r != nil && r.served {
		return r.primary.server
	}
	return ""
}

// change changes what the store holds and wakes whoever waits for that.
func (c *Cluster) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	c.wake()
}

// wake tells of a change. The caller holds mu.
func (c *Cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns once condition, called under mu, holds; false: the time is over.
func (c *Cluster) wait(within time.Duration, condition func() bool) bool {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		holds, changed := condition(), c.changed
		c.mu.Unlock()
		if holds {
			return true
		}
		select {
		case <-changed:
		case <-timeout.C:
			return false
		}
	}
}

// WaitServed waits until every shard has a primary that serves it, its secondaries, and no move under way. A shard that has not in time is a violation. What
// the leader cannot know yet, that a server stands still for instance, it does not wait for.
func (c *Cluster) WaitServed(within time.Duration) {
	if c.wait(within, func() bool { return c.unsettled() == "" }) {
		return
	}
	c.mu.Lock()
	id := c.unsettled()
	what := fmt.Sprintf("without an owner, or on its way, for %s: %s", within, c.rows[id])
	c.mu.Unlock()
	c.checker.Violate(id, what)
}

// unsettled is a shard that is not in its place; empty: none. The caller holds mu.
func (c *Cluster) unsettled() string {
	for _, id := range shard.SortedKeys(c.rows) {
		r := c.rows[id]
		life := c.lives[r.primary]
		if !r.served || r.target != (holder{}) || r.wish != "" || len(r.leaving) > 0 || life == nil || life.lost() || !c.runs(r.primary) || c.drained[r.primary.server] || c.lacks(r) {
			return id
		}
	}
	return ""
}

// runs reports whether an incarnation is that of a server's present process.
func (c *Cluster) runs(h holder) bool {
	p := c.Server(h.server).current()
	if p == nil {
		return false
	}
	_, incarnation := p.host.Server()
	return incarnation == h.incarnation
}

// settle ends the faults and judges the end.
func (c *Cluster) settle() {
	c.Heal()
	c.stopLoad()
	c.WaitServed(SettleTime)
	c.readBack()
}

// stop ends everything; it may be called again.
func (c *Cluster) stop() {
	c.mu.Lock()
	again, leader := c.stopping, c.leader
	c.stopping = true
	c.mu.Unlock()
	if again {
		return
	}
	c.Heal()
	c.stopLoad()
	if leader != nil {
		leader.stop()
	}
	for _, s := range c.servers {
		s.end()
		s.agent.stop()
	}
	c.cancel()
	c.running.Wait()
}

// serve answers at a listener until ctx ends.
func (c *Cluster) serve(ctx context.Context, listener net.Listener, handler http.Handler) {
	server := transport.NewServer(ctx, handler)
	server.ErrorLog = slog.NewLogLogger(c.cfg.Logger.Handler(), slog.LevelDebug) // connections that break are what is played
	c.running.Go(func() { _ = server.Serve(listener) })
	c.running.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
}

// around is the world as a node sees it.
func (c *Cluster) around(ctx context.Context, node string) context.Context {
	return surroundings.With(ctx, surroundings.Surroundings{Dial: c.net.Dialer(node), Now: func() shard.Instant {
		now := time.Now().UnixNano()
		return shard.Instant{Boot: now, Raw: now}
	}})
}
