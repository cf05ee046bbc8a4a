package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// fleet is one cluster of the example: allocators, agents with their applications, the example's storage, and a load generator. Where `dev` plays
// scenarios, a test does as it likes with its processes.
type fleet struct {
	t           *testing.T
	name        string
	store       []string // flags that lead to the coordination store
	profile     string
	dir         string
	sockets     string
	starter     *process.Starter
	ports       *ports.Ports
	allocators  []*process.Unit
	serve       []string // addresses of their AllocatorService
	admins      []string
	agents      []*process.Unit
	apps        []*process.Unit
	kv, load    *process.Unit
	lines       *observe.Load
	generations int
}

// size of a fleet. Every agent is in a zone of its own; the first of them may be in region eu, and then the others in us. With replicas, applications
// keep their data themselves, and no store does.
type size struct {
	allocators, agents, eu int
	replicas               bool
	flags                  []string // more of the allocators'
	program                string   // empty: the one under test
}

// storage says where applications keep their data.
func (n size) storage(kv string) []string {
	if n.replicas {
		return []string{"--mode", "primary-secondary"}
	}
	return []string{"--store", "http://" + kv}
}

func (n size) region(i int) string {
	switch {
	case n.eu == 0:
		return ""
	case i < n.eu:
		return "eu"
	}
	return "us"
}

const fleetShards = 12

// newFleet starts a fleet and creates its app, with further lines of its spec; it is ended with the test.
func newFleet(t *testing.T, name, profile string, n size, store []string, spec string) *fleet {
	t.Helper()
	sockets, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	if n.program == "" {
		n.program = binary
	}
	f := &fleet{t: t, name: name, profile: profile, store: store, dir: t.TempDir(), sockets: sockets, starter: process.NewStarter(), ports: ports.New()}
	t.Cleanup(f.end)
	kvAddress := f.address()
	f.kv = f.unit("kv-store", "example-kv", "store", "--listen", kvAddress)
	for i := range n.allocators {
		listen, admin := f.address(), f.address()
		f.serve, f.admins = append(f.serve, listen), append(f.admins, admin)
		f.allocators = append(f.allocators, f.unit(fmt.Sprintf("allocator-%d", i), append([]string{"allocator", "--cluster", name, "--name", fmt.Sprintf("a%d", i),
			"--listen", listen, "--admin-listen", admin, "--profile", profile, "--state-dir", filepath.Join(f.dir, fmt.Sprintf("a%d", i))}, slices.Concat(n.flags, store)...)...))
	}
	for i := range n.agents {
		node := fmt.Sprintf("n%d", i)
		f.agents = append(f.agents, f.unit(node, append([]string{"agent", "--cluster", name, "--name", node, "--listen", f.address(), "--socket", f.socket(i),
			"--region", n.region(i), "--zone", fmt.Sprintf("z%d", i), "--host", node, "--apps", "kv", "--profile", profile, "--state-dir", filepath.Join(f.dir, node)}, store...)...))
		f.install(i, n.program)
		f.apps = append(f.apps, f.unit(node+"-app", append([]string{"example-kv", "serve", "--listen", f.address(), "--agent", f.socket(i),
			"--history", f.history(i)}, n.storage(kvAddress)...)...))
	}
	for _, u := range append(append([]*process.Unit{f.kv}, f.allocators...), append(f.agents, f.apps...)...) {
		if u.Binary = n.program; slices.Contains(f.agents, u) {
			u.Binary = f.program(slices.Index(f.agents, u))
		}
		f.start(u)
	}
	file := filepath.Join(f.dir, "app.yaml")
	// Nothing is moved for balance: whatever moves, somebody lost.
	still := fmt.Appendf(nil, "name: kv\nkey_space: {hash: {shards: %d}}\nplacement: {balance_tolerance_percent: 100}\n%s", fleetShards, spec)
	if err := os.WriteFile(file, still, 0o600); err != nil {
		t.Fatal(err)
	}
	// Shards are dealt to all servers at once: the app comes after them.
	f.await(patience, "every server to be attached", func() bool { return f.attached() == n.agents })
	f.await(patience, "the app to be created", func() bool {
		out, err := exec.CommandContext(t.Context(), binary, "app", "create", "-f", file, "--admin", strings.Join(f.admins, ",")).CombinedOutput()
		return err == nil || strings.Contains(string(out), "exists")
	})
	f.await(patience, "every server to have shards", func() bool {
		owners := map[string]bool{}
		for _, at := range f.owners() {
			owners[at.server] = true
		}
		return len(owners) == n.agents
	})
	return f
}

// program is where an agent's program is. Every agent has its own, to be replaced.
func (f *fleet) program(i int) string { return filepath.Join(f.dir, fmt.Sprintf("program-%d", i)) }

// install makes a program that of an agent, in one step.
func (f *fleet) install(i int, program string) {
	f.t.Helper()
	next := f.program(i) + ".next"
	if err := errors.Join(os.Symlink(program, next), os.Rename(next, f.program(i))); err != nil {
		f.t.Fatal(err)
	}
}

// status is what an agent says of itself; nil: it does not answer.
func (f *fleet) status(i int) *pb.StatusResponse {
	endpoint, err := transport.Dial(f.socket(i))
	if err != nil {
		f.t.Fatal(err)
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Second)
	defer cancel()
	status, err := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil
	}
	return status
}

// restarted waits until another agent than that of a run is there to stay.
func (f *fleet) restarted(i int, run uint64) (status *pb.StatusResponse) {
	f.t.Helper()
	f.await(time.Minute, fmt.Sprintf("agent %d to be back", i), func() bool {
		status = f.status(i)
		return status != nil && status.GetRun() != run && !status.GetOnTrial()
	})
	return status
}

// history is where an application records what it does.
func (f *fleet) history(i int) string { return filepath.Join(f.dir, fmt.Sprintf("n%d.history", i)) }

func (f *fleet) socket(i int) string { return fmt.Sprintf("unix://%s/%d", f.sockets, i) }

func (f *fleet) address() string {
	address, err := f.ports.Take(0)
	if err != nil {
		f.t.Fatal(err)
	}
	return address
}

func (f *fleet) unit(name string, args ...string) *process.Unit {
	return &process.Unit{Name: f.name + " " + name, Binary: binary, Args: args, Log: filepath.Join(f.dir, name+".log"), Starter: f.starter,
		Died: func(_ *process.Unit, err error) { f.t.Error(err) }}
}

func (f *fleet) start(u *process.Unit) {
	f.t.Helper()
	if err := u.Start(); err != nil {
		f.t.Fatal(err)
	}
}

// kill ends processes at once, all at the same moment or so.
func (f *fleet) kill(units ...*process.Unit) {
	f.t.Helper()
	for _, u := range units {
		if _, err := u.Kill(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// end ends everything that runs.
func (f *fleet) end() {
	for _, u := range append(append(append(f.apps, f.agents...), f.allocators...), f.load, f.kv) {
		if u != nil && u.Running() {
			_, err := u.Kill(context.Background())
			if err != nil {
				f.t.Error(err)
			}
		}
		if u != nil && f.t.Failed() {
			f.t.Logf("%s: %s", u.Name, u.Tail())
		}
	}
	f.starter.Close()
	if err := errors.Join(f.ports.Release(), os.RemoveAll(f.sockets)); err != nil {
		f.t.Error(err)
	}
}

func (f *fleet) await(within time.Duration, what string, met func() bool) {
	f.t.Helper()
	if !eventually(f.t, within, f.name+": "+what, met) {
		f.t.FailNow()
	}
}

// owner is who serves a shard.
type owner struct {
	server      string
	incarnation uint64
	term        uint64
}

// ask calls an allocator's AdminService.
func ask[Req, Res any](f *fleet, i int, request *Req, method func(shardmanagerv1connect.AdminServiceClient, context.Context, *Req) (*Res, error)) (*Res, error) {
	endpoint, err := transport.Dial(f.admins[i])
	if err != nil {
		f.t.Fatal(err)
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Second)
	defer cancel()
	return method(shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL), ctx, request)
}

// leading is the allocator that leads, by its position; -1: none says so.
func (f *fleet) leading() int {
	for i := range f.admins {
		status, err := ask(f, i, &pb.GetStatusRequest{}, shardmanagerv1connect.AdminServiceClient.GetStatus)
		if err == nil && status.GetLeading() {
			return i
		}
	}
	return -1
}

// attached counts the servers that are attached to the leader.
func (f *fleet) attached() (n int) {
	lead := f.leading()
	if lead < 0 {
		return 0
	}
	answer, err := ask(f, lead, &pb.ListServersRequest{}, shardmanagerv1connect.AdminServiceClient.ListServers)
	if err != nil {
		return 0
	}
	for _, s := range answer.GetServers() {
		if s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED {
			n++
		}
	}
	return n
}

// owners is the shard map as the leader has it; shards without a primary are left out. None: nobody leads.
func (f *fleet) owners() map[int]owner {
	lead := f.leading()
	if lead < 0 {
		return nil
	}
	answer, err := ask(f, lead, &pb.AdminServiceGetShardMapRequest{App: "kv"}, shardmanagerv1connect.AdminServiceClient.GetShardMap)
	if err != nil {
		return nil
	}
	m, err := wire.SnapshotFromProto(answer.GetSnapshot())
	if err != nil {
		f.t.Fatal(err)
	}
	of := map[int]owner{}
	for _, e := range m.Entries() {
		if s, ok := m.Server(e.Primary); ok {
			of[int(e.Index)] = owner{string(e.Primary), uint64(s.Incarnation), uint64(e.Term)}
		}
	}
	return of
}

// run starts a load generator. sources say where it learns the shard map; its cache is that of the generators before it.
func (f *fleet) run(rate string, sources ...string) {
	f.t.Helper()
	f.generations++
	f.lines = new(observe.Load)
	f.load = f.unit("load", append([]string{"example-kv", "load", "--cluster", f.name, "--rate", rate, "--keys", "500", "--deadline", "2s",
		"--cache-dir", filepath.Join(f.dir, "router"), "--history", f.log(f.generations)}, sources...)...)
	f.load.Out = f.lines
	f.start(f.load)
	f.await(patience, "the load to be answered", func() bool { last, _, _ := f.lines.Now(); return last.Requests > last.Failed })
}

func (f *fleet) log(generation int) string {
	return filepath.Join(f.dir, fmt.Sprintf("requests-%d", generation))
}

// rest ends the load and returns every request of this generator. It fails the test if a promise about the data was broken.
func (f *fleet) rest() []requests.Request {
	f.t.Helper()
	if err := f.load.Stop(time.Minute); err != nil {
		f.t.Error(err)
	}
	last, _, bad := f.lines.Now()
	if !last.Final || bad != "" || last.LostWrites+last.RepeatedWrites+last.StaleReads > 0 || last.UnverifiedKeys > 0 || last.VerifiedKeys == 0 {
		f.t.Errorf("%s: the load ended with %+v %s", f.name, last, bad)
	}
	list, err := requests.ReadFile(f.log(f.generations))
	if err != nil || len(list) == 0 {
		f.t.Fatalf("%s: %d requests, %v", f.name, len(list), err)
	}
	return list
}

// overlaps fails the test if two applications could serve a shard at once. What was killed is told to the detector.
func (f *fleet) overlaps(kills ...overlap.Kill) {
	f.t.Helper()
	var all []overlap.History
	for i := range f.apps {
		histories, err := overlap.Read(f.history(i))
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, histories...)
	}
	report, err := overlap.Analyse(all, kills)
	if err != nil || report.Count > 0 {
		f.t.Errorf("%s: %v, overlaps %v", f.name, err, report.Overlaps)
	}
}

// failed counts the requests of a kind that failed.
func failed(list []requests.Request) (n int) {
	for _, r := range list {
		if r.Outcome != requests.OK {
			n++
		}
	}
	return n
}
