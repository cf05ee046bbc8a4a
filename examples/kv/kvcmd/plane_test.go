package kvcmd_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/examples/kv/kvcmd"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// The test binary is the example's own binary when it is started again with this variable.
const asCommand = "KV_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		os.Exit(m.Run())
	}
	go func() { // a test that was killed closes its end: nothing is left behind
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	if err := kvcmd.Command().Execute(); err != nil {
		os.Exit(1)
	}
}

// process is one started verb of the example.
type process struct {
	cmd    *exec.Cmd
	stdout *output
	stderr *output
}

// output is what a process has written so far; it may be read while more comes.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a verb in a process of its own, killed at the end of the test if it still runs.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), stdout: new(output), stderr: new(output)}
	p.cmd.Env = append(os.Environ(), asCommand+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// stop ends a process by a signal and waits for it.
func (p *process) stop(t *testing.T, signal os.Signal) error {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return p.cmd.Wait()
}

// cpu is the processor time that an ended process took.
func (p *process) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// plane stands for agents and allocators: it gives every server that registers a lease, sends it what the test says, and serves the map.
type plane struct {
	t       *testing.T
	space   shard.HashSpace
	hub     *mapfeed.Hub
	lease   time.Duration
	address string // of the map's service

	mu      sync.Mutex
	counter uint64
	terms   []uint64
	owners  []*agent
	servers []*agent
}

func newPlane(t *testing.T, shards uint32, lease time.Duration) *plane {
	p := &plane{
		t: t, lease: lease, space: shard.HashSpace{Shards: shards}, hub: mapfeed.NewHub(mapfeed.HubConfig{}),
		terms: make([]uint64, shards), owners: make([]*agent, shards),
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(p.hub))
	p.address = serve(t, "127.0.0.1:0", mux)
	return p
}

func serve(t *testing.T, address string, handler http.Handler) string {
	t.Helper()
	listener, err := transport.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	server := transport.NewServer(t.Context(), handler)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// agent stands for the agent of one server. It pulls as seldom as a real one, so that TestCost measures the load and not the leases.
type agent struct {
	shardmanagerv1connect.UnimplementedAgentServiceHandler
	socket string

	// What the first registration said; not changed after registered is closed.
	registered chan struct{}
	once       sync.Once
	leased     chan struct{} // closed by the second pull: the answer to the first has been taken in
	pulls      int
	server     shard.Server
	host       shardmanagerv1connect.ShardHostServiceClient

	mu          sync.Mutex
	incarnation shard.Incarnation // the present one; 0: fenced
	lease       time.Duration
}

const (
	leaseInterval = 200 * time.Millisecond
	longLease     = 30 * time.Second // outlasts what a busy machine does to a test
	patience      = time.Minute      // how long a test waits for what must happen
)

func (p *plane) newAgent(name string) *agent {
	a := &agent{registered: make(chan struct{}), leased: make(chan struct{}), incarnation: shard.Incarnation(len(p.servers) + 1), lease: p.lease}
	a.server = shard.Server{ID: shard.MakeServerID(name, "kv"), App: "kv", Agent: name, Incarnation: a.incarnation}
	a.socket = "unix://" + filepath.Join(p.t.TempDir(), "a")
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewAgentServiceHandler(a))
	serve(p.t, a.socket, mux)
	p.servers = append(p.servers, a)
	return a
}

func (a *agent) Register(_ context.Context, r *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	endpoint, err := transport.Dial(r.GetHostAddress())
	if err != nil {
		return nil, err
	}
	a.once.Do(func() {
		a.server.DataAddress = r.GetDataAddress()
		a.host = shardmanagerv1connect.NewShardHostServiceClient(endpoint.Client, endpoint.URL)
		close(a.registered)
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.incarnation == 0 {
		a.incarnation = a.server.Incarnation + 1000
	}
	return &pb.RegisterResponse{Server: string(a.server.ID), Incarnation: uint64(a.incarnation), IntervalMs: leaseInterval.Milliseconds()}, nil
}

func (a *agent) PullLease(_ context.Context, r *pb.PullLeaseRequest) (*pb.PullLeaseResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.GetIncarnation() != uint64(a.incarnation) {
		return &pb.PullLeaseResponse{Ended: true}, nil
	}
	if a.pulls++; a.pulls == 2 {
		close(a.leased)
	}
	return &pb.PullLeaseResponse{RemainingNs: int64(a.lease)}, nil
}

// fence stops vouching for the incarnation; once the last lease is over, its shards may be given away.
func (a *agent) fence() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.incarnation = 0
}

func (a *agent) Watch(ctx context.Context, _ *pb.AgentServiceWatchRequest, _ *connect.ServerStream[pb.AgentServiceWatchResponse]) error {
	<-ctx.Done()
	return nil
}

func (p *plane) command(i shard.Index, term uint64, a *agent) *pb.ShardCommand {
	return &pb.ShardCommand{App: "kv", Shard: string(p.space.ID(i)), Term: term, Move: term, Incarnation: uint64(a.server.Incarnation)}
}

func (p *plane) must(step string, err error) {
	if err != nil {
		p.t.Errorf("%s: %v", step, err)
	}
}

// grant makes a server primary of a shard that nobody owns any more.
func (p *plane) grant(i shard.Index, a *agent) {
	ctx := p.t.Context()
	p.terms[i]++
	_, err := a.host.Activate(ctx, &pb.ActivateRequest{Command: p.command(i, p.terms[i], a)})
	p.must("Activate", err)
	_, err = a.host.AddShard(ctx, &pb.AddShardRequest{Command: p.command(i, p.terms[i], a), Role: pb.Role_ROLE_PRIMARY})
	p.must("AddShard", err)
	p.owners[i] = a
}

// move hands a shard over as the allocator does, rows 2 to 7.
func (p *plane) move(i shard.Index, to *agent) {
	ctx, from := p.t.Context(), p.owners[i]
	peer := func(a *agent) *pb.Peer {
		return &pb.Peer{Server: string(a.server.ID), Incarnation: uint64(a.server.Incarnation), DataAddress: a.server.DataAddress}
	}
	p.terms[i]++
	_, err := to.host.PrepareAddShard(ctx, &pb.PrepareAddShardRequest{Command: p.command(i, p.terms[i], to), From: peer(from)})
	p.must("PrepareAddShard", err)
	drop, err := from.host.PrepareDropShard(ctx, &pb.PrepareDropShardRequest{Command: p.command(i, p.terms[i], from), To: peer(to), DeadlineMs: patience.Milliseconds()})
	p.must("PrepareDropShard", err)
	if drop.GetBusy() {
		p.t.Error("PrepareDropShard: busy")
	}
	_, err = to.host.AddShard(ctx, &pb.AddShardRequest{Command: p.command(i, p.terms[i], to), Role: pb.Role_ROLE_PRIMARY})
	p.must("AddShard", err)
	p.owners[i] = to
	p.publish()
	time.AfterFunc(500*time.Millisecond, func() { // the linger
		if p.t.Context().Err() == nil {
			_, err := from.host.DropShard(ctx, &pb.DropShardRequest{Command: p.command(i, p.terms[i], from)})
			p.must("DropShard", err)
		}
	})
}

// publish sends the map as it is now to the routers.
func (p *plane) publish() { p.publishWith(nil) }

// publishWith publishes secondaries too, by shard.
func (p *plane) publishWith(secondaries [][]*agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counter++
	servers := make([]shard.Server, len(p.servers))
	for i, a := range p.servers {
		servers[i] = a.server
	}
	var entries []shard.Entry
	for i, a := range p.owners {
		if a != nil {
			e := shard.Entry{Index: shard.Index(i), Primary: a.server.ID, Term: shard.Term(p.terms[i])}
			if secondaries != nil {
				for _, s := range secondaries[i] {
					e.Secondaries = append(e.Secondaries, s.server.ID)
				}
			}
			entries = append(entries, e)
		}
	}
	m, err := shard.NewMap("kv", shard.Version{Epoch: shard.Epoch{Index: 1}, Counter: p.counter}, p.space, servers, entries)
	if err != nil {
		p.t.Fatal(err)
	}
	p.hub.Set(m)
}

// awaitFile reads what a process writes to a file once it is ready.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if content, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(content))
		}
	}
	t.Fatalf("no %s within %s", path, patience)
	return ""
}

// fleet is a store and servers, with all shards dealt out, round robin.
type fleet struct {
	*plane
	store        *process
	storeAddress string
	processes    []*process
	histories    []string
}

func startFleet(t *testing.T, shards uint32, servers int, lease time.Duration) *fleet {
	t.Helper()
	f := startServers(t, shards, servers, lease, func(f *fleet) []string {
		file := filepath.Join(t.TempDir(), "store.address")
		f.store = start(t, "store", "--address-file", file)
		f.storeAddress = awaitFile(t, file)
		return []string{"--store", f.storeAddress}
	})
	for i := range shards {
		f.grant(shard.Index(i), f.servers[int(i)%servers])
	}
	f.publish()
	return f
}

// startServers starts servers and waits until each has a lease; args are those of their mode.
func startServers(t *testing.T, shards uint32, servers int, lease time.Duration, args func(*fleet) []string) *fleet {
	t.Helper()
	dir := t.TempDir()
	f := &fleet{plane: newPlane(t, shards, lease)}
	own := args(f)
	for n := range servers {
		a := f.newAgent(fmt.Sprintf("a%d", n))
		history := filepath.Join(dir, fmt.Sprintf("history-%d", n))
		f.histories = append(f.histories, history)
		f.processes = append(f.processes, start(t, append([]string{"serve", "--agent", a.socket, "--history", history, "--log-level", "warn"}, own...)...))
	}
	for n, a := range f.servers {
		select {
		case <-a.leased:
		case <-time.After(patience):
			t.Fatalf("%s did not register and pull its lease: %s", a.server.ID, f.processes[n].stderr)
		}
	}
	return f
}
