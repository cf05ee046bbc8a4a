package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/overlap"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Patience with what must happen, on a busy machine too.
const (
	patience     = 90 * time.Second
	stopPatience = 10 * time.Second
	poll         = 50 * time.Millisecond
)

// requestDeadline is long enough for a request to outlast a fault: what fails was lost, not late.
const requestDeadline = 10 * time.Second

// driftPPM is the drift that leases allow for, 1 %.
const driftPPM = 10_000

// server is an agent and the application beside it, on a host of their own.
type server struct {
	layout.Server
	agent, app *process.Unit
}

// fleet is everything that runs.
type fleet struct {
	t       *testing.T
	net     *network
	mode    string
	places  *layout.Layout
	starter *process.Starter
	admins  *observe.Admins
	watch   *observe.Map
	lines   *observe.Load

	consul     *consulserver.Cluster
	allocators []*process.Unit
	servers    []*server
	kvStore    *process.Unit
	load       *process.Unit

	kills  []overlap.Kill
	mortal atomic.Bool // programs may end by themselves: that is what is played
}

// start brings a fleet up, under load, until the test ends. Its processes end with it.
func start(t *testing.T, net *network, mode, profile string, rate int) *fleet {
	t.Helper()
	f := &fleet{t: t, net: net, mode: mode, starter: process.NewStarter(), lines: new(observe.Load)}
	var err error
	if f.places, err = layout.New(t.ArtifactDir(), false); err != nil {
		t.Fatal(err)
	}
	if err := f.place(); err != nil {
		t.Fatal(err)
	}
	settings := layout.Settings{Consul: f.consul.Addresses(), Mode: mode, Profile: profile, Rate: rate, Deadline: requestDeadline}
	f.kvStore = f.unit("kv-store", client, nil, f.places.KVStoreArgs())
	f.load = f.unit("load", client, f.lines, f.places.LoadArgs(settings))
	for _, a := range f.places.Allocators {
		// Faults hit the same server again: probation has tests of its own.
		args := append(f.places.AllocatorArgs(a, settings), "--probation-first", "1s", "--probation-most", "1s")
		f.allocators = append(f.allocators, f.unit(a.Name, a.Name, nil, args))
	}
	for i, s := range f.places.Servers {
		agent := f.places.AgentArgs(s, settings)
		if ppm := drifts[i]; ppm != 0 {
			agent = append(agent, "--unsafe-clock-ppm", fmt.Sprint(ppm))
		}
		f.servers = append(f.servers, &server{
			Server: s, agent: f.unit(s.Node+"-agent", s.Node, nil, agent), app: f.unit(s.Node+"-app", s.Node, nil, f.places.AppArgs(s, settings, 1)),
		})
	}
	if f.admins, err = observe.NewAdmins(f.places.AdminAddresses()); err != nil {
		t.Fatal(err)
	}
	if f.watch, err = observe.NewMap(f.places.AllocatorAddresses(), layout.ReplicasIn(mode)); err != nil {
		t.Fatal(err)
	}
	watching, unwatch := context.WithCancel(context.Background())
	var watcher sync.WaitGroup
	watcher.Go(func() { f.watch.Run(watching) })
	t.Cleanup(func() {
		unwatch()
		watcher.Wait()
		f.stop()
	})
	if err := f.bringUp(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, f.tails())
	}
	return f
}

// drifts are the agents whose clocks run fast or slow, by position, all the time: a lease holds if the drift is within what was allowed for.
var drifts = map[int]int{fastest: driftPPM, slowest: -driftPPM}

// Positions of these servers, which are in two regions.
const (
	fastest = 1
	slowest = 5
)

// place gives everything its host.
func (f *fleet) place() (err error) {
	f.places.KVStore = f.net.address(client) + ":7500"
	var consuls []string
	for i := range f.places.Allocators {
		a := &f.places.Allocators[i]
		at := f.net.address(a.Name)
		a.Listen, a.Relay, a.Admin = at+":7410", at+":7410", at+":7440"
		consuls = append(consuls, f.net.address(fmt.Sprintf("consul-%d", i+1)))
	}
	f.places.Servers = f.places.Servers[:0]
	for _, region := range layout.Regions {
		for zone := range perKind {
			s, err := f.places.NewServer(region, zone+1)
			if err != nil {
				return err
			}
			s.Node = fmt.Sprintf("node-%d", len(f.places.Servers)+1)
			s.AgentListen, s.AppListen = f.net.address(s.Node)+":7420", f.net.address(s.Node)+":7430"
			f.places.Servers = append(f.places.Servers, s)
		}
	}
	f.consul, err = consulserver.New(consulserver.Config{
		Binary: consultest.Binary(f.t), Dir: f.places.ConsulDir(), Logs: f.places.Logs(), Servers: perKind, Hosts: consuls, Starter: f.starter, Died: f.died,
	})
	if err != nil {
		return err
	}
	for _, s := range f.consul.Servers {
		s.Args = f.net.within(s.Name, append([]string{s.Binary}, s.Args...)...)
		s.Binary = "ip"
	}
	return nil
}

// unit is a program on a host.
func (f *fleet) unit(name, host string, out io.Writer, args []string) *process.Unit {
	return &process.Unit{
		Name: name, Binary: "ip", Args: f.net.within(host, append([]string{os.Getenv(binaryVariable)}, args...)...),
		Log: filepath.Join(f.places.Logs(), name+".log"), Out: out, Starter: f.starter, Died: f.died,
	}
}

// died fails the test when a program ended by itself.
func (f *fleet) died(_ *process.Unit, err error) {
	if !f.mortal.Load() {
		f.t.Error(err)
	}
}

// bringUp starts everything, until every shard is served.
func (f *fleet) bringUp(ctx context.Context) error {
	if err := f.consul.Start(ctx); err != nil {
		return err
	}
	if f.mode == layout.PrimaryOnly {
		if err := f.kvStore.Start(); err != nil {
			return err
		}
	}
	for _, a := range f.allocators {
		if err := a.Start(); err != nil {
			return err
		}
	}
	// Replicas of a shard are in different regions: the loss of one takes no shard's last copy.
	create := func(ctx context.Context) error {
		return f.admins.CreateApp(ctx, f.mode, pb.FaultDomain_FAULT_DOMAIN_REGION)
	}
	if err := await(ctx, "the app to be created", create); err != nil {
		return err
	}
	for _, s := range f.servers {
		if err := errors.Join(s.agent.Start(), s.app.Start()); err != nil {
			return err
		}
	}
	if err := await(ctx, "the fleet to settle", f.settled); err != nil {
		return err
	}
	if err := f.load.Start(); err != nil {
		return err
	}
	return f.served(ctx)
}

// await tries until a check passes.
func await(ctx context.Context, what string, check func(context.Context) error) error {
	return clock.Await(ctx, patience, what, check)
}

// settled fails unless every server is attached, every shard has its replicas, nothing moves and nothing is held.
func (f *fleet) settled(ctx context.Context) error {
	servers, err := f.admins.Servers(ctx)
	if err != nil {
		return err
	}
	attached := 0
	for _, s := range servers {
		if s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED {
			attached++
		}
	}
	if attached != len(f.servers) {
		return fmt.Errorf("%d of %d servers are attached", attached, len(f.servers))
	}
	if err := f.watch.Placed(ctx); err != nil {
		return err
	}
	if hold, err := f.admins.Hold(ctx); err != nil || hold != "" {
		return errors.Join(err, fmt.Errorf("servers are held: %s", hold))
	}
	if open, err := f.admins.OpenMoves(ctx); err != nil || open > 0 {
		return errors.Join(err, fmt.Errorf("%d moves are open", open))
	}
	return nil
}

// attached fails until the leader is attached to a server, or while it is.
func (f *fleet) attached(id string, wanted bool) func(context.Context) error {
	return func(ctx context.Context) error {
		servers, err := f.admins.Servers(ctx)
		if err != nil {
			return err
		}
		for _, s := range servers {
			if s.GetServer().GetId() == id && (s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED) != wanted {
				return fmt.Errorf("%s is %v", id, s.GetState())
			}
		}
		return nil
	}
}

// lives is the incarnation of every server.
func (f *fleet) lives(ctx context.Context) (of map[string]uint64, err error) {
	err = await(ctx, "the list of servers", func(ctx context.Context) error {
		servers, err := f.admins.Servers(ctx)
		of = map[string]uint64{}
		for _, s := range servers {
			of[s.GetServer().GetId()] = s.GetServer().GetIncarnation()
		}
		return err
	})
	return of, err
}

// led waits until another allocator leads than the one at a position.
func (f *fleet) led(ctx context.Context, former int) error {
	return await(ctx, "another allocator to lead", func(ctx context.Context) error {
		for i := range f.allocators {
			if leads, err := f.admins.Leads(ctx, i); err == nil && leads && i != former {
				return nil
			}
		}
		return fmt.Errorf("none but %s leads", f.allocators[former].Name)
	})
}

// leader is the position of the allocator that leads.
func (f *fleet) leader(ctx context.Context) (position int, err error) {
	err = await(ctx, "a leader", func(ctx context.Context) (err error) {
		position, err = f.admins.Leader(ctx)
		return err
	})
	return position, err
}

// fullest is the server that has most shards, of those wanted: losing it says most.
func (f *fleet) fullest(wanted func(position int, s *server) bool) *server {
	of, _ := f.watch.ShardsOf()
	var best *server
	for i, s := range f.servers {
		if wanted(i, s) && (best == nil || of[s.ID()] > of[best.ID()]) {
			best = s
		}
	}
	return best
}

// steady is a server whose clock is right.
func steady(position int, _ *server) bool { return drifts[position] == 0 }

// region lists the servers of a region, and the hosts in it.
func (f *fleet) region(name string) (servers []*server, list []string) {
	for i, r := range layout.Regions {
		if r == name {
			list = append(list, fmt.Sprintf("consul-%d", i+1), fmt.Sprintf("allocator-%d", i+1))
		}
	}
	for _, s := range f.servers {
		if s.Region == name {
			servers, list = append(servers, s), append(list, s.Node)
		}
	}
	return servers, list
}

// kind lists the hosts of a kind.
func (f *fleet) kind(prefix string) []string {
	return slices.DeleteFunc(f.net.others(), func(host string) bool { return !strings.HasPrefix(host, prefix) })
}

// taken waits until others have what servers had.
func (f *fleet) taken(ctx context.Context, victims ...*server) error {
	for _, v := range victims {
		if err := await(ctx, "others to take the shards of "+v.ID(), f.watch.Left(v.ID())); err != nil {
			return err
		}
	}
	return nil
}

// kill ends programs of a server at once.
func (f *fleet) kill(ctx context.Context, s *server, units ...*process.Unit) error {
	for _, u := range units {
		running := overlap.Process{File: f.places.History(s.Server), PID: u.PID()}
		at, err := u.Kill(ctx)
		if err != nil {
			return err
		}
		if u == s.app {
			f.kills = append(f.kills, overlap.Kill{Process: running, At: at})
		}
	}
	return nil
}

// paused stops a program and lets it go on after what has to happen meanwhile.
func paused(u *process.Unit, meanwhile func() error) error {
	if _, err := u.Signal(syscall.SIGSTOP, false); err != nil {
		return err
	}
	err := meanwhile()
	_, failed := u.Signal(syscall.SIGCONT, false)
	return errors.Join(err, failed)
}

// stop ends everything that runs.
func (f *fleet) stop() {
	f.mortal.Store(true)
	if f.t.Failed() {
		f.t.Log(f.tails())
	}
	failed := []error{f.net.heal()}
	var apps, agents []*process.Unit
	for _, s := range f.servers {
		apps, agents = append(apps, s.app), append(agents, s.agent)
	}
	f.admins.Close()
	for _, kind := range [][]*process.Unit{{f.load}, apps, agents, f.allocators, {f.kvStore}} {
		for _, u := range kind {
			if u.Running() {
				_, err := u.Kill(context.Background()) // orderly ends are tested elsewhere, and take time
				failed = append(failed, err)
			}
		}
	}
	for _, s := range f.consul.Servers {
		if s.Running() {
			_, err := s.Kill(context.Background())
			failed = append(failed, err)
		}
	}
	f.starter.Close()
	if err := errors.Join(append(failed, f.places.Remove())...); err != nil {
		f.t.Error(err)
	}
}

// tails is the end of every log, for people.
func (f *fleet) tails() string {
	logs, _ := filepath.Glob(filepath.Join(f.places.Logs(), "*.log")) // the pattern is well-formed
	var text strings.Builder
	for _, log := range logs {
		fmt.Fprintln(&text, (&process.Unit{Log: log}).Tail())
	}
	return text.String()
}
