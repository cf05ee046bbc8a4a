package traces

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	oteltrace "go.opentelemetry.io/otel/trace"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"go.uber.org/goleak"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/allocator"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/tracing"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// cluster is a store, allocators, agents and applications in this process, each with a provider of spans of its own, as processes have.
type cluster struct {
	*testing.T
	settings  tracing.Settings
	store     coord.Store
	log       *lines
	addresses []string // of allocators
	admins    []shardmanagerv1connect.AdminServiceClient
	stops     []func() // of allocators
	failed    failures
}

// failures counts what was told of the receiver.
type failures struct {
	mu sync.Mutex
	n  int
}

func (f *failures) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.n++
	}
}

// lines is a log, as JSON.
type lines struct {
	mu   sync.Mutex
	list []map[string]any
}

func (l *lines) Write(p []byte) (int, error) {
	line := map[string]any{}
	if err := json.Unmarshal(p, &line); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
	return len(p), nil
}

// find is the first line with a message about a trace.
func (l *lines) find(message, traceID string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.list {
		if line["message"] == message && line["trace_id"] == traceID {
			return line
		}
	}
	return nil
}

func newCluster(t *testing.T, s tracing.Settings, allocators int) *cluster {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100") // ms; 5 s by default
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := &cluster{T: t, settings: s, store: store, log: &lines{}}
	for i := range allocators {
		c.allocator("a" + string(rune('1'+i)))
	}
	return c
}

// provider is what a process sends its spans with; it is closed when the test ends, after whoever uses it.
func (c *cluster) provider(service, instance string) oteltrace.TracerProvider {
	c.Helper()
	if !c.settings.On(func(string) string { return "" }) {
		return nil
	}
	p, err := tracing.Open(c.Context(), c.settings, tracing.Identity{Service: service, Instance: instance, Version: "test", Cluster: "c1"}, c.failed.note)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		began := time.Now()
		err := p.Close()
		if took := time.Since(began); took > 4*time.Second {
			c.Errorf("the spans of %s held its end up for %s", instance, took)
		}
		c.failed.note(err)
	})
	return p
}

func (c *cluster) listen() net.Listener {
	c.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	return l
}

// run runs something until the test ends, or what it returns is called.
func (c *cluster) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && ctx.Err() == nil {
				c.Error(err)
			}
		case <-time.After(patience):
			c.Error("does not end")
		}
	})
	c.Cleanup(stop)
	return stop
}

func (c *cluster) allocator(name string) {
	c.Helper()
	cfg := allocator.DefaultConfig()
	cfg.Cluster, cfg.Name, cfg.StateDir = "c1", name, c.TempDir()
	cfg.LeaseInterval, cfg.LeaseValidity, cfg.LeaderValidity = 100*time.Millisecond, 600*time.Millisecond, time.Second
	cfg.AgentGrace, cfg.PartitionGrace, cfg.Linger = 20*time.Second, 30*time.Second, 20*time.Millisecond // patient with a busy machine
	data, admin := c.listen(), c.listen()
	a, err := allocator.New(cfg, allocator.Deps{Store: c.store, Log: zerolog.New(c.log), Listener: data, AdminListener: admin, Version: "test",
		Tracing: c.provider("allocator", name)})
	if err != nil {
		c.Fatal(err)
	}
	endpoint, err := transport.Dial(admin.Addr().String())
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(endpoint.Close)
	c.addresses = append(c.addresses, data.Addr().String())
	c.admins = append(c.admins, shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL))
	c.stops = append(c.stops, c.run(a.Run))
}

// server is an agent and its application.
type server struct {
	id   string
	stop func() // the application, at once and without a word
}

func (c *cluster) server(name string, load <-chan struct{}) *server {
	c.Helper()
	sockets, err := os.MkdirTemp("", "t") // a path that fits a Unix socket
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = os.RemoveAll(sockets) })
	socket := "unix://" + filepath.Join(sockets, "agent")
	a, err := agent.New(agent.Config{Cluster: "c1", Name: name, Host: name, Listen: "127.0.0.1:0", Socket: socket, StateDir: c.TempDir(), Allocators: c.addresses,
		LeaseInterval: 100 * time.Millisecond, LeaseValidity: 600 * time.Millisecond, DrainTimeout: time.Millisecond},
		agent.Deps{Store: c.store, Log: zerolog.New(c.log), Version: "test", Tracing: c.provider("agent", name)})
	if err != nil {
		c.Fatal(err)
	}
	c.run(a.Run)
	l := c.listen()
	host, err := sdk.NewHost("app", &application{load: load}, sdk.WithAgentAddress(socket), sdk.WithDataAddress(l.Addr().String()),
		sdk.WithSingleProcess(), sdk.WithTracerProvider(c.provider("application", name)))
	if err != nil {
		c.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(host.Handler())
	s := transport.NewServer(context.Background(), mux)
	go func() { _ = s.Serve(l) }()
	c.Cleanup(func() { _ = s.Close() })
	return &server{id: name + ".app", stop: c.run(host.Run)}
}

// application has state that moves along in a stream.
type application struct{ load <-chan struct{} }

var (
	_ statestream.Source = (*application)(nil)
	_ statestream.Target = (*application)(nil)
	_ sdk.Activator      = (*application)(nil)
	_ sdk.Preparer       = (*application)(nil)
)

func (a *application) AddShard(context.Context, sdk.Shard) error         { return nil }
func (a *application) DropShard(context.Context, sdk.Shard) error        { return nil }
func (a *application) Activate(context.Context, sdk.Shard, []byte) error { return nil }
func (a *application) PrepareAddShard(ctx context.Context, _ sdk.Shard, _ sdk.Peer) error {
	select {
	case <-a.load: // nil in most tests
	case <-ctx.Done():
		return ctx.Err()
	default:
		if a.load != nil {
			<-a.load
		}
	}
	return nil
}
func (a *application) LastState(context.Context, sdk.Shard) ([]byte, error) {
	return []byte("state"), nil
}
func (a *application) StreamState(_ context.Context, _ sdk.Shard, _ sdk.Peer, w io.Writer) error {
	_, err := w.Write([]byte("snapshot"))
	return err
}
func (a *application) StateDelta(context.Context, sdk.Shard, sdk.Peer) ([]byte, error) {
	return []byte("delta"), nil
}
func (a *application) EndState(sdk.Shard, sdk.Peer) {}
func (a *application) ReceiveState(_ context.Context, _ sdk.Shard, _ sdk.Peer, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// create makes the app, of one shard.
func (c *cluster) create() {
	c.Helper()
	spec := &pb.AppSpec{Name: "app", Replication: pb.Replication_REPLICATION_PRIMARY_ONLY, KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 1}}}}
	c.eventually("the app is created", func(ctx context.Context) error {
		_, err := c.leader(ctx).CreateApp(ctx, &pb.CreateAppRequest{Spec: spec})
		return err
	})
}

// leader is whoever leads now, or the first.
func (c *cluster) leader(ctx context.Context) shardmanagerv1connect.AdminServiceClient {
	for _, admin := range c.admins {
		if status, err := admin.GetStatus(ctx, &pb.GetStatusRequest{}); err == nil && status.Leading {
			return admin
		}
	}
	return c.admins[0]
}

func (c *cluster) eventually(what string, check func(context.Context) error) {
	c.Helper()
	if err := clock.Await(c.Context(), patience, what, check); err != nil {
		c.Fatal(err)
	}
}

func attributes(list []*common.KeyValue) map[string]string {
	values := map[string]string{}
	for _, a := range list {
		values[a.Key] = a.Value.GetStringValue()
	}
	return values
}
