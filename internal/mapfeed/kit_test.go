package mapfeed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const testApp = shard.App("kv")

// patience is how long a test waits for what must happen, on a busy machine too.
const patience = time.Minute

func version(index, counter uint64) shard.Version {
	return shard.Version{Epoch: shard.Epoch{Index: index}, Counter: counter}
}

// elsewhere is where maps are made that a hub only passes on.
func elsewhere() (at time.Time, made bool) { return at, false }

func server(agent string) shard.Server {
	return shard.Server{
		ID: shard.MakeServerID(agent, testApp), App: testApp, Agent: agent, Incarnation: 7, DataAddress: "127.0.0.1:1", AgentAddress: "127.0.0.1:2",
	}
}

// testMap is a map of 8 shards, all with server a.
func testMap(t testing.TB, v shard.Version) *shard.Map {
	t.Helper()
	var entries []shard.Entry
	for i := range shard.Index(8) {
		entries = append(entries, shard.Entry{Index: i, Primary: "a.kv", Term: 1})
	}
	m, err := shard.NewMap(testApp, v, shard.HashSpace{Shards: 8}, []shard.Server{server("a"), server("b")}, entries)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// move is a delta that gives a shard to a server, one counter on.
func move(base shard.Version, i shard.Index, to shard.ServerID) shard.Delta {
	next := base
	next.Counter++
	return shard.Delta{
		App: testApp, Base: base, Version: next, Shards: []shard.Entry{{Index: i, Primary: to, Term: shard.Term(next.Counter + 1)}},
	}
}

func mustApply(t testing.TB, h *Hub, deltas ...shard.Delta) {
	t.Helper()
	for _, d := range deltas {
		if err := h.Apply(d); err != nil {
			t.Fatal(err)
		}
	}
}

func sameMap(t testing.TB, got, want *shard.Map) {
	t.Helper()
	if got.Version != want.Version {
		t.Errorf("version %s, want %s", got.Version, want.Version)
	}
	if diff := cmp.Diff(want.Entries(), got.Entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Servers(), got.Servers()); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
}

// serve offers a map service on a loopback port; stop cuts every connection at once.
func serve(t *testing.T, service shardmanagerv1connect.ShardMapServiceHandler) (address string, stop func()) {
	t.Helper()
	listener, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String(), serveOn(t, listener, service)
}

func serveOn(t *testing.T, listener net.Listener, service shardmanagerv1connect.ShardMapServiceHandler) (stop func()) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(service))
	ctx, cancel := context.WithCancel(t.Context())
	srv := transport.NewServer(ctx, mux)
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(listener) })
	stop = sync.OnceFunc(func() {
		cancel()
		_ = srv.Close()
		done.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func clientOf(t *testing.T, address string, opts ...connect.ClientOption) shardmanagerv1connect.ShardMapServiceClient {
	t.Helper()
	endpoint, err := transport.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(endpoint.Close)
	return shardmanagerv1connect.NewShardMapServiceClient(endpoint.Client, endpoint.URL, opts...)
}

// closedAddress is an address at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// follow runs a follower for the test; updates and troubles arrive on the channels.
func follow(t *testing.T, cfg FollowerConfig) (*Follower, <-chan Update, <-chan error) {
	t.Helper()
	updates, troubles := make(chan Update, 1000), make(chan error, 1000)
	cfg.App = testApp
	f, err := NewFollower(cfg, func(u Update) { updates <- u }, func(err error) { troubles <- err })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := f.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want the context's error", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return f, updates, troubles
}

func next[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %s", what, patience)
		panic("unreachable")
	}
}

// script is a map service that says what it is told, for the faults that a Hub does not have.
type script struct {
	shardmanagerv1connect.UnimplementedShardMapServiceHandler
	requests chan *pb.WatchRequest
	watch    func(*pb.WatchRequest, *connect.ServerStream[pb.WatchResponse]) error
}

func newScript(watch func(*pb.WatchRequest, *connect.ServerStream[pb.WatchResponse]) error) *script {
	return &script{requests: make(chan *pb.WatchRequest, 100), watch: watch}
}

func (s *script) Watch(ctx context.Context, req *pb.WatchRequest, stream *connect.ServerStream[pb.WatchResponse]) error {
	s.requests <- req
	if err := s.watch(req, stream); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func snapshotOf(m *shard.Map) *pb.WatchResponse {
	return &pb.WatchResponse{Message: &pb.WatchResponse_Snapshot{Snapshot: wire.SnapshotToProto(m)}}
}

func deltaOf(d shard.Delta) *pb.WatchResponse {
	return &pb.WatchResponse{Message: &pb.WatchResponse_Delta{Delta: wire.DeltaToProto(d)}}
}

// describe names a message for comparison with an expected course.
func describe(m *pb.WatchResponse) string {
	switch m := m.GetMessage().(type) {
	case *pb.WatchResponse_Snapshot:
		return fmt.Sprintf("snapshot %s", wire.VersionFromProto(m.Snapshot.Version))
	case *pb.WatchResponse_Delta:
		return fmt.Sprintf("delta %s", wire.VersionFromProto(m.Delta.Version))
	case *pb.WatchResponse_KeepAlive:
		return fmt.Sprintf("keep-alive %s", wire.VersionFromProto(m.KeepAlive.Version))
	}
	return "nothing"
}
