package sdk

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// mapSource is a real map service on a loopback port, for an app `kv` of one shard: every key is the same shard's.
type mapSource struct {
	t       testing.TB
	hub     *mapfeed.Hub
	address string
	stop    func()
}

func startMapSource(t testing.TB) *mapSource {
	t.Helper()
	s := &mapSource{t: t, hub: mapfeed.NewHub(mapfeed.HubConfig{Cluster: "test"})}
	listener, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(s.hub))
	ctx, cancel := context.WithCancel(context.Background())
	server := transport.NewServer(ctx, mux)
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(listener) })
	s.address, s.stop = listener.Addr().String(), sync.OnceFunc(func() {
		cancel()
		_ = server.Close()
		done.Wait()
	})
	t.Cleanup(s.stop)
	return s
}

// publish makes the shard's primary be at an address, under a new version; an empty address means that it has none.
func (s *mapSource) publish(address string) *shard.Map {
	s.t.Helper()
	counter := uint64(1)
	if m, ok := s.hub.Map("kv"); ok {
		counter = m.Version.Counter + 1
	}
	m := routedMap(s.t, counter, address)
	s.hub.Set(m)
	return m
}

// routedMap is a map of one shard, whose primary is named after its version.
func routedMap(t testing.TB, counter uint64, address string) *shard.Map {
	t.Helper()
	var servers []shard.Server
	var entries []shard.Entry
	if address != "" {
		agent := "agent-" + string(rune('a'+counter-1))
		id := shard.MakeServerID(agent, "kv")
		servers = []shard.Server{{ID: id, App: "kv", Agent: agent, Incarnation: shard.Incarnation(counter), DataAddress: address, Locality: shard.Locality{Region: "eu", Zone: "eu-1"}}}
		entries = []shard.Entry{{Primary: id, Term: shard.Term(counter)}}
	}
	m, err := shard.NewMap("kv", shard.Version{Epoch: shard.Epoch{Index: 1}, Counter: counter}, shard.HashSpace{Shards: 1}, servers, entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// startRouter runs a Router for the test; without other options it follows the source as its agent.
func startRouter(t testing.TB, source *mapSource, opts ...RouterOption) *Router {
	t.Helper()
	r, err := NewRouter("kv", append([]RouterOption{WithAgent(source.address), WithCluster("test")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want the context's error", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return r
}

// readyRouter is startRouter, and waits for the map.
func readyRouter(t testing.TB, source *mapSource, opts ...RouterOption) *Router {
	t.Helper()
	r := startRouter(t, source, opts...)
	if err := r.Ready(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	return r
}

// stillRouter has one map, and nobody to follow: for tests in virtual time, which change the map by update.
func stillRouter(t testing.TB, address string, opts ...RouterOption) *Router {
	t.Helper()
	r, err := NewRouter("kv", append([]RouterOption{WithAgent("127.0.0.1:1")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	r.update(mapfeed.Update{Map: routedMap(t, 1, address)})
	return r
}

// startData serves HTTP/1.1 and h2c on a loopback port and returns its address.
func startData(t testing.TB, handler http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.Listener.Addr().String()
}

// pipes is a network in memory, for tests in virtual time: whatever address is dialled, its one server answers.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// servePipes serves HTTP/1.1 and h2c until the test ends.
func servePipes(t testing.TB, handler http.Handler) *pipes {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	var done sync.WaitGroup
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done.Add(1)
		defer done.Done()
		handler.ServeHTTP(w, r)
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	done.Go(func() { _ = server.Serve(p) })
	t.Cleanup(func() {
		_ = server.Close()
		done.Wait()
	})
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// base is a transport for one version of HTTP over the pipes.
func (p *pipes) base(t testing.TB, protocol string) http.RoundTripper {
	base := baseOf(t, protocol)
	base.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return ours, nil
		case <-p.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return base
}

// refusing answers like a Host that refuses.
func refusing(outcome Outcome, hint string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(HeaderOutcome, outcome.String())
		if hint != "" {
			w.Header().Set(HeaderHint, hint)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// nobody is an address at which connections are refused.
func nobody(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// patience is how long a test waits for what must happen, on a busy machine too.
const patience = time.Minute

// within bounds a test's request.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
