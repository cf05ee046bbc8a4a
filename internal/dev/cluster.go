package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/dev/relay"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Patience with programs that are told to end; whoever takes longer is killed.
const (
	stopPatience  = 4 * time.Second
	appPatience   = 10 * time.Second // an application lets requests finish
	drainPatience = 60 * time.Second
	loadPatience  = 45 * time.Second // the read-back included
)

// cluster is everything that runs.
type cluster struct {
	cfg     Config
	layout  *layout.Layout
	starter *process.Starter
	fail    func(error) // a program ended by itself
	admins  *observe.Admins
	watch   *observe.Map
	lines   *observe.Load
	network *relay.Relay

	store         *process.Unit         // nil with Consul
	consul        *consulserver.Cluster // nil with the embedded store
	kvStore, load *process.Unit
	allocators    []*process.Unit
	servers       []*server
	former        []*server // taken away; their records count

	mu     sync.Mutex
	units  []*process.Unit // all
	mortal atomic.Bool     // programs may end by themselves: that is what is played

	watching sync.WaitGroup
	unwatch  context.CancelFunc
}

// server is an agent and the application beside it.
type server struct {
	place      layout.Server
	agent, app *process.Unit
	version    int
}

func newCluster(cfg Config, dir string, fail func(error)) (*cluster, error) {
	places, err := layout.New(dir, cfg.Scenario == "")
	if err != nil {
		return nil, err
	}
	c := &cluster{cfg: cfg, layout: places, starter: process.NewStarter(), fail: fail, lines: new(observe.Load), unwatch: func() {}}
	if err := c.placeStore(); err != nil {
		return nil, err
	}
	c.kvStore = c.unit("kv-store", nil, places.KVStoreArgs())
	c.load = c.unit("load", c.lines, places.LoadArgs(c.settings()))
	for _, a := range places.Allocators {
		c.allocators = append(c.allocators, c.unit(a.Name, nil, places.AllocatorArgs(a, c.settings())))
	}
	for _, s := range places.Servers {
		c.servers = append(c.servers, c.newServer(s))
	}
	c.network = relay.New(relay.Config{Processes: c.processes})
	if c.admins, err = observe.NewAdmins(places.AdminAddresses()); err != nil {
		return nil, err
	}
	if c.watch, err = observe.NewMap(places.AllocatorAddresses(), layout.ReplicasIn(cfg.Mode)); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cluster) newServer(place layout.Server) *server {
	return &server{
		place: place, version: 1,
		agent: c.unit(agentOf(place), nil, c.layout.AgentArgs(place, c.settings())), app: c.unit(place.Node+"-app", nil, c.layout.AppArgs(place, c.settings(), 1)),
	}
}

// agentOf is the name of a server's agent among the programs.
func agentOf(place layout.Server) string { return place.Node + "-agent" }

func (c *cluster) unit(name string, out io.Writer, args []string) *process.Unit {
	u := &process.Unit{
		Name: name, Binary: c.cfg.Binary, Args: args, Log: filepath.Join(c.layout.Logs(), name+".log"), Out: out, Starter: c.starter, Died: c.died,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.units = append(c.units, u)
	return u
}

// died fails the run when a program ended by itself, unless that is what is played.
func (c *cluster) died(_ *process.Unit, err error) {
	if !c.mortal.Load() {
		c.fail(err)
	}
}

// processes lists what runs or ran, by name.
func (c *cluster) processes() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := make(map[string]int, len(c.units))
	for _, u := range c.units {
		of[u.Name] = u.PID()
	}
	return of
}

// start brings everything up but the load: store, allocators, app, agents, applications, until every shard is placed.
func (c *cluster) start(ctx context.Context) error {
	if err := c.startStore(ctx); err != nil {
		return err
	}
	if c.cfg.Mode == layout.PrimaryOnly {
		if err := c.kvStore.Start(); err != nil {
			return err
		}
	}
	for i, a := range c.allocators {
		place := c.layout.Allocators[i]
		if err := c.network.Forward(place.Relay, place.Listen); err != nil {
			return err
		}
		if err := a.Start(); err != nil {
			return err
		}
	}
	if err := c.ready(ctx, c.allocators[0], func(ctx context.Context) error { _, err := c.admins.Leader(ctx); return err }); err != nil {
		return err
	}
	spread := pb.FaultDomain_FAULT_DOMAIN_ZONE
	if err := clock.Await(ctx, startPatience, "the app to be created", func(ctx context.Context) error { return c.admins.CreateApp(ctx, c.cfg.Mode, spread) }); err != nil {
		return err
	}
	for _, s := range c.servers {
		if err := c.startServer(ctx, s); err != nil {
			return err
		}
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.unwatch = cancel
	c.watching.Go(func() { c.watch.Run(watching) })
	return c.settled(ctx)
}

// startServer starts an agent, waits until it answers, and starts the application.
func (c *cluster) startServer(ctx context.Context, s *server) error {
	if err := s.agent.Start(); err != nil {
		return err
	}
	if err := c.ready(ctx, s.agent, func(ctx context.Context) error { return observe.PingAgent(ctx, s.place.AgentListen) }); err != nil {
		return err
	}
	if s.app.Running() {
		return nil
	}
	s.app.Args = c.layout.AppArgs(s.place, c.settings(), s.version)
	return s.app.Start()
}

// ready waits until a program answers.
func (c *cluster) ready(ctx context.Context, u *process.Unit, check func(context.Context) error) error {
	if err := clock.Await(ctx, startPatience, u.Name, check); err != nil {
		return fmt.Errorf("%w; %s", err, u.Tail())
	}
	return nil
}

// startLoad starts the load generator and waits for its first line.
func (c *cluster) startLoad(ctx context.Context) error {
	if err := c.load.Start(); err != nil {
		return err
	}
	return clock.Await(ctx, startPatience, "the load generator's first numbers", func(context.Context) error {
		if _, count, bad := c.lines.Now(); count == 0 {
			return fmt.Errorf("no line yet %s", bad)
		}
		return nil
	})
}

// stopLoad ends the load; the generator reads back every key first.
func (c *cluster) stopLoad() error {
	if err := c.load.Stop(loadPatience); err != nil {
		return err
	}
	if last, _, bad := c.lines.Now(); !last.Final {
		return fmt.Errorf("the load generator ended without a last line %s; %s", bad, c.load.Tail())
	}
	return nil
}

// settled waits until every server is attached, every shard is placed and nothing moves.
func (c *cluster) settled(ctx context.Context) error {
	return clock.Await(ctx, settlePatience, "the cluster to settle", func(ctx context.Context) error {
		if err := c.watch.Placed(ctx); err != nil {
			return err
		}
		if err := c.allAttached(ctx, false); err != nil {
			return err
		}
		if open, err := c.admins.OpenMoves(ctx); err != nil || open > 0 {
			return errors.Join(err, fmt.Errorf("%d moves are open", open))
		}
		return c.spread()
	})
}

// allAttached fails unless every server is attached and, unless they may be, none is drained.
func (c *cluster) allAttached(ctx context.Context, drained bool) error {
	servers, err := c.admins.Servers(ctx)
	if err != nil {
		return err
	}
	attached := 0
	for _, s := range servers {
		if s.State == pb.ServerState_SERVER_STATE_ATTACHED && (drained || !s.Draining) {
			attached++
		}
	}
	if attached != len(c.servers) {
		return fmt.Errorf("%d of %d servers are attached", attached, len(c.servers))
	}
	return nil
}

// spread fails while a server has no shard: the balance is still to come.
func (c *cluster) spread() error {
	of, _ := c.watch.ShardsOf()
	for _, s := range c.servers {
		if of[s.place.ID()] == 0 {
			return fmt.Errorf("%s has no shard yet", s.place.ID())
		}
	}
	return nil
}

// stop ends everything that runs, in order: load, applications, agents, allocators, stores. Programs of one kind end together.
func (c *cluster) stop() error {
	var apps, agents []*process.Unit
	for _, s := range c.servers {
		apps, agents = append(apps, s.app), append(agents, s.agent)
	}
	failed := []error{c.load.Stop(stopPatience)}
	c.unwatch()
	c.watching.Wait()
	failed = append(failed, process.StopTogether(apps, appPatience))
	for _, kind := range [][]*process.Unit{agents, c.allocators, append(c.storeUnits(), c.kvStore)} {
		failed = append(failed, process.StopTogether(kind, stopPatience))
	}
	c.admins.Close()
	c.network.Close()
	c.starter.Close()
	return errors.Join(append(failed, c.layout.Remove())...)
}
