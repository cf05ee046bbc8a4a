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

	"github.com/shardmanager/shardmanager/internal/memnet"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/surroundings"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/internal/plane"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// SettleTime is how long the shards of a Cluster without faults may take until all are served: a lease that was lost is waited for, and so is a move
// that has to be called off.
const SettleTime = 5 * time.Minute

// clientNode is where Routers are in the network.
const clientNode = "client"

// Cluster is an app's servers with their agents, and the leader that places its shards. Its methods may be called from any goroutine of the bubble.
type Cluster struct {
	t       testing.TB
	cfg     Config
	app     sdktest.App
	checker *ownership.Checker
	net     *memnet.Network
	servers []*Server
	plane   *plane.Plane
	faults  faults
	ctx     context.Context // ends with the cluster
	cancel  context.CancelFunc
	running sync.WaitGroup // goroutines that end with ctx

	mu       sync.Mutex
	load     *load
	stopping bool
}

func newCluster(t testing.TB, cfg Config) *Cluster {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cluster{t: t, cfg: cfg, checker: ownership.New(), net: memnet.New(cfg.Delay), ctx: ctx, cancel: cancel}
	c.app = cfg.App(c.checker)
	var servers []plane.Server
	for i := range cfg.Servers {
		s := newServer(c, string(rune('a'+i)))
		c.servers = append(c.servers, s)
		servers = append(servers, plane.Server{
			Name: s.Name, Address: s.Address, Agent: s.agent.node, AgentAddress: s.agent.address(), Command: s.agent.command,
		})
	}
	c.plane = plane.New(
		plane.Config{Shards: cfg.Shards, Secondaries: cfg.Secondaries, Validity: cfg.Validity, Interval: cfg.Interval, Durable: c.app.Durable},
		plane.Deps{Net: c.net, Checker: c.checker, Servers: servers, Disturb: c.faults.disturb, Runs: c.runs},
	)
	c.serveMaps()
	for _, s := range c.servers {
		s.agent.start()
		s.start()
	}
	c.plane.WaitRegistered(SettleTime) // so that each gets its share, whoever comes first
	c.plane.Elect()
	return c
}

// serveMaps answers Routers where the allocators are.
func (c *Cluster) serveMaps() {
	listener, err := c.net.Listen(plane.Node + ":80")
	if err != nil {
		c.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(c.plane.Hub()))
	c.serve(c.ctx, listener, mux)
}

// Checker is what watches.
func (c *Cluster) Checker() *ownership.Checker { return c.checker }

// Shards are the ids of all shards, in order.
func (c *Cluster) Shards() []string { return c.plane.Shards() }

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
func (c *Cluster) Owner(shardID string) string { return c.plane.Owner(shardID) }

// WaitServed waits until every shard has a primary that serves it, its secondaries, and no move under way. A shard that has not in time is a violation. What
// the leader cannot know yet, that a server stands still for instance, it does not wait for.
func (c *Cluster) WaitServed(within time.Duration) {
	if id, what := c.plane.WaitServed(within); id != "" {
		c.checker.Violate(id, fmt.Sprintf("without an owner, or on its way, for %s: %s", within, what))
	}
}

// runs reports whether an incarnation is that of a server's present process.
func (c *Cluster) runs(h plane.Holder) bool {
	p := c.Server(h.Server).current()
	if p == nil {
		return false
	}
	_, incarnation := p.host.Server()
	return incarnation == h.Incarnation
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
	again := c.stopping
	c.stopping = true
	c.mu.Unlock()
	if again {
		return
	}
	c.Heal()
	c.stopLoad()
	c.plane.Close()
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
