package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/dev/relay"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Patience with a machine on which much happens at once.
const (
	startPatience  = 2 * time.Minute
	settlePatience = 3 * time.Minute
	stopPatience   = 10 * time.Second
	appPatience    = 10 * time.Second
	drainPatience  = 70 * time.Second
	loadPatience   = time.Minute
	// storeDelay is how late messages to a slow store, and its answers, arrive.
	storeDelay = 400 * time.Millisecond
)

// drift is what leases allow for, in parts in a million: two servers' clocks run as fast and as slow as they may. Clocks of two machines are never
// compared, so that nothing but their rates can matter.
var drift = map[string]int{"node-2": 10_000, "node-3": -10_000}

// server is an agent and the application beside it.
type server struct {
	layout.Server
	agent, app *process.Unit
	version    int
}

// cluster is everything that runs. It is that of `shardmanager dev`, but everybody reaches Consul through a relay, too.
type cluster struct {
	cfg      config
	places   *layout.Layout
	settings layout.Settings
	starter  *process.Starter
	admins   *observe.Admins
	watch    *observe.Map
	lines    *observe.Load
	control  *relay.Relay // from agents to allocators
	storage  *relay.Relay // from agents and allocators to Consul
	disks    map[string]*disk

	consul        *consulserver.Cluster
	kvStore, load *process.Unit
	allocators    []*process.Unit
	servers       []*server
	died          func(*process.Unit, error)

	mu    sync.Mutex
	units []*process.Unit

	watching sync.WaitGroup
	unwatch  context.CancelFunc
}

func newCluster(cfg config, died func(*process.Unit, error)) (*cluster, error) {
	places, err := layout.New(cfg.dir, false)
	if err != nil {
		return nil, err
	}
	c := &cluster{cfg: cfg, places: places, starter: process.NewStarter(), lines: new(observe.Load), died: died, unwatch: func() {}, disks: map[string]*disk{}}
	c.control, c.storage = relay.New(relay.Config{Processes: c.processes}), relay.New(relay.Config{Processes: c.processes, Delay: storeDelay})
	if c.consul, err = consulserver.New(consulserver.Config{
		Binary: cfg.consul, Dir: places.ConsulDir(), Logs: places.Logs(), Servers: 3, Ports: places.Ports(), Starter: c.starter, Died: died,
	}); err != nil {
		return nil, err
	}
	c.settings = layout.Settings{Mode: cfg.mode, Profile: cfg.profile, Rate: cfg.rate, Deadline: cfg.deadline}
	for _, s := range c.consul.Servers {
		address, err := places.Ports().Take(0)
		if err = errors.Join(err, c.storage.Forward(address, s.HTTP)); err != nil {
			return nil, err
		}
		c.settings.Consul = append(c.settings.Consul, address)
		c.units = append(c.units, s.Unit)
	}
	c.kvStore, c.load = c.unit("kv-store", nil, places.KVStoreArgs()), c.unit("load", c.lines, places.LoadArgs(c.settings))
	for _, a := range places.Allocators {
		// Faults hit the same servers again and again: probation and quarantine would end the run, and have tests of their own.
		c.allocators = append(c.allocators, c.unit(a.Name, nil, append(places.AllocatorArgs(a, c.settings),
			"--probation-first", "1s", "--probation-most", "1s", "--quarantine-deaths", "1000000")))
		if err := c.control.Forward(a.Relay, a.Listen); err != nil {
			return nil, err
		}
	}
	for _, place := range places.Servers {
		c.servers = append(c.servers, c.server(place))
	}
	if c.admins, err = observe.NewAdmins(places.AdminAddresses()); err != nil {
		return nil, err
	}
	c.watch, err = observe.NewMap(places.AllocatorAddresses(), layout.ReplicasIn(cfg.mode))
	return c, errors.Join(err, c.mountDisks())
}

func (c *cluster) server(place layout.Server) *server {
	agent := c.places.AgentArgs(place, c.settings)
	if ppm := drift[place.Node]; ppm != 0 {
		agent = append(agent, "--unsafe-clock-ppm", fmt.Sprint(ppm))
	}
	return &server{Server: place, version: 1, agent: c.unit(place.Node+"-agent", nil, agent), app: c.unit(place.Node+"-app", nil, c.places.AppArgs(place, c.settings, 1))}
}

func (c *cluster) unit(name string, out io.Writer, args []string) *process.Unit {
	u := &process.Unit{Name: name, Binary: c.cfg.binary, Args: args, Log: filepath.Join(c.places.Logs(), name+".log"), Out: out, Starter: c.starter, Died: c.died}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.units = append(c.units, u)
	return u
}

// all lists every program.
func (c *cluster) all() []*process.Unit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*process.Unit(nil), c.units...)
}

// processes lists what runs or ran, by name, for the relays.
func (c *cluster) processes() map[string]int {
	of := map[string]int{}
	for _, u := range c.all() {
		of[u.Name] = u.PID()
	}
	return of
}

// start brings everything up under load, until every shard is placed.
func (c *cluster) start(ctx context.Context) error {
	if err := c.consul.Start(ctx); err != nil {
		return err
	}
	if c.cfg.mode == layout.PrimaryOnly {
		if err := c.kvStore.Start(); err != nil {
			return err
		}
	}
	for _, a := range c.allocators {
		if err := a.Start(); err != nil {
			return err
		}
	}
	create := func(ctx context.Context) error {
		return c.admins.CreateApp(ctx, c.cfg.mode, pb.FaultDomain_FAULT_DOMAIN_ZONE)
	}
	if err := clock.Await(ctx, startPatience, "the app to be created", create); err != nil {
		return fmt.Errorf("%w; %s", err, c.allocators[0].Tail())
	}
	for _, s := range c.servers {
		if err := errors.Join(s.agent.Start(), s.app.Start()); err != nil {
			return err
		}
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.unwatch = cancel
	c.watching.Go(func() { c.watch.Run(watching) })
	if err := c.settled(ctx); err != nil {
		return err
	}
	if err := c.load.Start(); err != nil {
		return err
	}
	return clock.Await(ctx, startPatience, "the load to be answered", func(context.Context) error {
		if last, _, bad := c.lines.Now(); last.Requests <= last.Failed {
			return fmt.Errorf("no request is %s", bad)
		}
		return nil
	})
}

// settled waits until every server is attached, every shard is placed and nothing moves.
func (c *cluster) settled(ctx context.Context) error {
	return clock.Await(ctx, settlePatience, "the cluster to settle", func(ctx context.Context) error {
		if err := c.watch.Placed(ctx); err != nil {
			return err
		}
		for _, s := range c.servers {
			if err := c.attached(s)(ctx); err != nil {
				return err
			}
		}
		if open, err := c.admins.OpenMoves(ctx); err != nil || open > 0 {
			return errors.Join(err, fmt.Errorf("%d moves are open", open))
		}
		hold, err := c.admins.Hold(ctx)
		if err == nil && hold != "" {
			err = errors.New(hold)
		}
		return err
	})
}

// attached fails unless a server is attached to the leader, as the process that runs.
func (c *cluster) attached(s *server) func(context.Context) error {
	return func(ctx context.Context) error {
		list, err := c.admins.Servers(ctx)
		if err != nil {
			return err
		}
		for _, status := range list {
			if status.GetServer().GetId() == s.ID() && status.GetState() == pb.ServerState_SERVER_STATE_ATTACHED {
				return nil
			}
		}
		return fmt.Errorf("%s is not attached", s.ID())
	}
}

// leader is the position of the allocator that leads, and fails if that is the one given.
func (c *cluster) another(than int) func(context.Context) error {
	return func(ctx context.Context) error {
		lead, err := c.admins.Leader(ctx)
		if err == nil && lead == than {
			err = fmt.Errorf("%s leads still", c.allocators[lead].Name)
		}
		return err
	}
}

// heal makes the network whole and lets everybody go on.
func (c *cluster) heal() {
	for _, u := range c.all() {
		c.control.Set(u.Name, relay.Healthy)
		c.storage.Set(u.Name, relay.Healthy)
	}
	for _, d := range c.disks {
		_ = d.free() // whoever needs it will say so
	}
}

// stop ends everything that runs, in order.
func (c *cluster) stop() error {
	var apps, agents, stores []*process.Unit
	for _, s := range c.servers {
		apps, agents = append(apps, s.app), append(agents, s.agent)
	}
	for _, s := range c.consul.Servers {
		stores = append(stores, s.Unit)
	}
	failed := []error{c.load.Stop(stopPatience)}
	c.unwatch()
	c.watching.Wait()
	for _, kind := range [][]*process.Unit{apps, agents, c.allocators, append(stores, c.kvStore)} {
		failed = append(failed, process.StopTogether(kind, appPatience))
	}
	c.admins.Close()
	c.control.Close()
	c.storage.Close()
	c.starter.Close()
	for _, d := range c.disks {
		failed = append(failed, d.unmount())
	}
	return errors.Join(append(failed, c.places.Remove())...)
}
