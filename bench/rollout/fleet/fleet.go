package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/examples/kv/kvserve"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Names of everything.
const (
	cluster = "rollout"
	app     = kvserve.AppName
)

// Patience with a machine on which much happens at once.
const (
	startPatience  = 3 * time.Minute
	settlePatience = 5 * time.Minute
	stopPatience   = 20 * time.Second
	loadPatience   = time.Minute
)

// Place is where a server is.
type Place struct{ Name, Region, Zone string }

// Load is what the load generator does.
type Load struct {
	Rate, Keys int
	Deadline   time.Duration
	Args       []string // more of its flags
}

// Config of a fleet.
type Config struct {
	Binary   string   // shardmanager
	Self     []string // command line of Serve, but for its argument
	Dir      string   // its own
	Spec     *pb.AppSpec
	Places   []Place
	Profile  string
	StartUp  time.Duration // of a server's processes, but for its first
	History  bool          // servers record what they do, for Overlap
	Load     Load
	Cold     bool // servers take no cache along
	Progress io.Writer
}

// Fleet is a running cluster.
type Fleet struct {
	cfg     Config
	began   time.Time
	ports   *ports.Ports
	starter *process.Starter
	lines   observe.Load

	store, kvStore, load *process.Unit
	Allocators           []*Allocator
	addresses            []string // of allocators
	Operator             *operator.Client
	Watch                *Watch

	watching sync.WaitGroup
	unwatch  context.CancelFunc

	mu      sync.Mutex
	servers []*Server
	kills   []overlap.Kill
	stopped bool
}

// Allocator is one process of an allocator.
type Allocator struct {
	*process.Unit
	Admin string
}

// New makes a fleet of which nothing runs.
func New(cfg Config) (*Fleet, error) {
	f := &Fleet{cfg: cfg, began: time.Now(), ports: ports.New(), starter: process.NewStarter(), Operator: new(operator.Client), unwatch: func() {}}
	for _, dir := range []string{"log", "state", "history", "sockets"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	var failed []error
	port := func() string {
		address, err := f.ports.Take(0)
		failed = append(failed, err)
		return address
	}
	store, kvStore := port(), port()
	f.store = f.unit("store", nil, "store", "--listen", store, "--data-dir", filepath.Join(cfg.Dir, "state", "store"))
	f.kvStore = f.unit("kv-store", nil, "example-kv", "store", "--listen", kvStore)
	for i := range 3 {
		name, listen, admin := fmt.Sprintf("allocator-%d", i+1), port(), port()
		f.Allocators = append(f.Allocators, &Allocator{Admin: admin, Unit: f.unit(name, nil, "allocator", "--cluster", cluster, "--name", name, "--listen", listen,
			"--admin-listen", admin, "--state-dir", filepath.Join(cfg.Dir, "state", name), "--profile", cfg.Profile, "--log-level", "warn", "--store", "embedded", "--store-address", store)})
		f.addresses, f.Operator.Addresses = append(f.addresses, listen), append(f.Operator.Addresses, admin)
	}
	f.load = f.unit("load", &f.lines, f.loadArgs()...)
	for _, p := range cfg.Places {
		s, err := f.newServer(p)
		failed, f.servers = append(failed, err), append(f.servers, s)
	}
	replicas := 1
	if cfg.Spec.GetReplication() == pb.Replication_REPLICATION_PRIMARY_SECONDARY {
		replicas = int(cfg.Spec.GetReplicas())
	}
	var err error
	f.Watch, err = newWatch(f.addresses, int(cfg.Spec.GetKeySpace().GetHash().GetShards()), replicas)
	return f, errors.Join(append(failed, err)...)
}

func (f *Fleet) unit(name string, out io.Writer, args ...string) *process.Unit {
	return &process.Unit{Name: name, Binary: f.cfg.Binary, Args: args, Log: f.log(name), Out: out, Starter: f.starter, Died: func(_ *process.Unit, err error) {
		f.Say("%v", err) // whatever is measured then fails by itself
	}}
}

func (f *Fleet) log(name string) string { return filepath.Join(f.cfg.Dir, "log", name+".log") }

// Say tells people.
func (f *Fleet) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(f.cfg.Progress, "%7.1fs  %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...))
}

// Start starts everything but the load, and returns once every replica is placed.
func (f *Fleet) Start(ctx context.Context) error {
	for _, u := range []*process.Unit{f.store, f.kvStore, f.Allocators[0].Unit} {
		if err := u.Start(); err != nil {
			return err
		}
	}
	if err := clock.Await(ctx, startPatience, "a leader", func(ctx context.Context) error { _, err := f.Leader(ctx); return err }); err != nil {
		return fmt.Errorf("%w; %s", err, f.Allocators[0].Tail())
	}
	for _, a := range f.Allocators[1:] { // the first one leads
		if err := a.Start(); err != nil {
			return err
		}
	}
	for _, s := range f.Servers() {
		if err := s.start(0); err != nil {
			return err
		}
	}
	if err := f.Attached(ctx, len(f.Servers())); err != nil {
		return err
	}
	f.Say("%d servers are attached", len(f.Servers()))
	if _, err := operator.Leader(ctx, f.Operator, shardmanagerv1connect.AdminServiceClient.CreateApp, &pb.CreateAppRequest{Spec: f.cfg.Spec}); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.unwatch = cancel
	f.watching.Go(func() { _ = f.Watch.follower.Run(watching) })
	if err := clock.Await(ctx, settlePatience, "the first placement", f.Watch.placed); err != nil {
		return err
	}
	if err := f.Settled(ctx); err != nil {
		return err
	}
	f.Watch.reset()
	f.Say("all shards are placed")
	return nil
}

// Leader is the allocator that leads.
func (f *Fleet) Leader(ctx context.Context) (*Allocator, error) {
	for _, a := range f.Allocators {
		if !a.Running() {
			continue
		}
		one := &operator.Client{Addresses: []string{a.Admin}, Within: 2 * time.Second}
		status, err := operator.Any(ctx, one, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
		if err == nil && status.GetLeading() {
			return a, nil
		}
	}
	return nil, errors.New("no allocator leads")
}

// States lists the servers as the leader knows them.
func (f *Fleet) States(ctx context.Context) ([]*pb.ServerStatus, error) {
	answer, err := operator.Leader(ctx, f.Operator, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{App: app})
	return answer.GetServers(), err
}

// Attached waits until so many servers are.
func (f *Fleet) Attached(ctx context.Context, want int) error {
	return clock.Await(ctx, startPatience, "servers to attach", func(ctx context.Context) error {
		list, err := f.States(ctx)
		n := 0
		for _, s := range list {
			if s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED {
				n++
			}
		}
		if n < want {
			return errors.Join(err, fmt.Errorf("%d of %d servers are attached", n, want))
		}
		return err
	})
}

// Settled waits until nothing has moved for a second.
func (f *Fleet) Settled(ctx context.Context) error {
	since := time.Now()
	return clock.Await(ctx, settlePatience, "moves to end", func(ctx context.Context) error {
		status, err := operator.Leader(ctx, f.Operator, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
		if err != nil || status.GetOpenMoves() > 0 {
			since = time.Now()
		}
		if quiet := time.Since(since); quiet < time.Second {
			return errors.Join(err, fmt.Errorf("%d moves are open, quiet for %v", status.GetOpenMoves(), quiet))
		}
		return nil
	})
}

func (f *Fleet) loadArgs() []string {
	l := f.cfg.Load
	args := []string{"example-kv", "load", "--cluster", cluster, "--rate", fmt.Sprint(l.Rate), "--keys", fmt.Sprint(l.Keys), "--deadline", l.Deadline.String(), "--history", f.requests()}
	for _, a := range f.addresses {
		args = append(args, "--allocators", a)
	}
	return append(args, l.Args...)
}

func (f *Fleet) requests() string { return filepath.Join(f.cfg.Dir, "history", "requests") }

// StartLoad starts the load and returns once it answers.
func (f *Fleet) StartLoad(ctx context.Context) error {
	if err := f.load.Start(); err != nil {
		return err
	}
	return clock.Await(ctx, startPatience, "the load generator's first numbers", func(context.Context) error {
		if _, count, bad := f.lines.Now(); count < 2 {
			return fmt.Errorf("no line yet %s; %s", bad, f.load.Tail())
		}
		return nil
	})
}

// Requested is what the load generator said last.
func (f *Fleet) Requested() kvload.Line {
	line, _, _ := f.lines.Now()
	return line
}

// StopLoad ends the load, which reads back every key first, and returns its last line and all requests.
func (f *Fleet) StopLoad() (kvload.Line, []requests.Request, error) {
	stopped := f.load.Stop(loadPatience)
	last, _, bad := f.lines.Now()
	if !last.Final {
		return last, nil, errors.Join(stopped, fmt.Errorf("the load generator ended without a last line %s; %s", bad, f.load.Tail()))
	}
	list, err := requests.ReadFile(f.requests())
	return last, list, err
}

// Stop ends whatever runs.
func (f *Fleet) Stop() error {
	f.mu.Lock()
	f.stopped = true
	var units []*process.Unit
	for _, s := range f.servers {
		units = append(units, s.unit)
	}
	f.mu.Unlock()
	failed := []error{f.load.Stop(stopPatience)}
	f.unwatch()
	f.watching.Wait()
	for _, u := range units { // nothing is asked of them any more, and an orderly end would move every shard
		if u.Running() {
			_, err := u.Kill(context.Background())
			failed = append(failed, err)
		}
	}
	for _, a := range f.Allocators {
		failed = append(failed, a.Stop(stopPatience))
	}
	failed = append(failed, f.kvStore.Stop(stopPatience), f.store.Stop(stopPatience))
	f.starter.Close()
	return errors.Join(append(failed, f.ports.Release())...)
}
