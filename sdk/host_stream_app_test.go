package sdk_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

var (
	_ statestream.Source = (*streamApp)(nil)
	_ statestream.Target = (*streamApp)(nil)
	_ statestream.Sizer  = (*streamApp)(nil)
)

// streamApp is an application that streams its state: counters by key, a line of JSON each.
type streamApp struct {
	*app

	mu       sync.Mutex
	dirty    map[uint64]map[string]bool // keys that changed since the snapshot for an incarnation
	received map[string]int             // nil: nothing
	during   func(ctx context.Context, w io.Writer) error
	deltas   []int // sizes of what StateDelta returned
	bulk     int   // bytes that StreamState wrote
}

func newStreamApp() *streamApp { return &streamApp{app: newApp(), dirty: map[uint64]map[string]bool{}} }

type entry struct {
	Key   string
	Value int
}

func encode(entries map[string]int) []byte {
	var b bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		_ = json.NewEncoder(&b).Encode(entry{key, entries[key]})
	}
	return b.Bytes()
}

func decode(r io.Reader) (map[string]int, error) {
	entries, lines := map[string]int{}, bufio.NewScanner(r)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		entries[e.Key] = e.Value
	}
	return entries, lines.Err()
}

// set changes a counter, as an operation would.
func (a *streamApp) set(key string, value int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.app.mu.Lock()
	a.data[testShard][key] = value
	a.app.mu.Unlock()
	for _, keys := range a.dirty {
		keys[key] = true
	}
}

// ServeHTTP counts, and notes what changed.
func (a *streamApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	for _, keys := range a.dirty {
		keys[string(body)] = true // noted before: a delta is taken only once operations have ended
	}
	a.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.app.ServeHTTP(w, r)
}

func (a *streamApp) StateSize(sdk.Shard) int64 {
	a.app.mu.Lock()
	defer a.app.mu.Unlock()
	return int64(len(encode(a.data[testShard])))
}

func (a *streamApp) StreamState(ctx context.Context, s sdk.Shard, to sdk.Peer, w io.Writer) error {
	a.mu.Lock()
	a.dirty[to.Incarnation] = map[string]bool{}
	during := a.during
	var content []byte
	err := a.call("StreamState", s, func() { content = encode(a.data[s.ID]) })
	a.bulk = len(content)
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if during != nil {
		return during(ctx, w)
	}
	return nil
}

func (a *streamApp) StateDelta(_ context.Context, s sdk.Shard, to sdk.Peer) (delta []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.call("StateDelta", s, func() {
		changed := map[string]int{}
		for key := range a.dirty[to.Incarnation] {
			changed[key] = a.data[s.ID][key]
		}
		delta = encode(changed)
		a.deltas = append(a.deltas, len(delta))
	})
	return delta, err
}

func (a *streamApp) EndState(s sdk.Shard, to sdk.Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.dirty, to.Incarnation)
	_ = a.call("EndState", s, func() {})
}

func (a *streamApp) ReceiveState(_ context.Context, s sdk.Shard, _ sdk.Peer, r io.Reader) error {
	a.mu.Lock()
	a.received = nil
	a.mu.Unlock()
	if err := a.call("ReceiveState", s, func() {}); err != nil {
		return err
	}
	entries, err := decode(r)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received = entries
	return nil
}

func (a *streamApp) Activate(_ context.Context, s sdk.Shard, state []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	base := map[string]int{}
	if state != nil && a.received != nil {
		base = maps.Clone(a.received)
	}
	changed, err := decode(bytes.NewReader(state))
	if err != nil {
		return err
	}
	maps.Copy(base, changed)
	name := "Activate"
	if state != nil {
		name = fmt.Sprintf("Activate with %d of %d", len(changed), len(base))
	}
	return a.call(name, s, func() {
		if a.data[s.ID] == nil || state != nil {
			a.data[s.ID] = base
		}
	})
}

func (a *streamApp) LastState(_ context.Context, s sdk.Shard) (state []byte, err error) {
	err = a.call("LastState", s, func() { state = encode(a.data[s.ID]) })
	return state, err
}

func (a *streamApp) DropShard(ctx context.Context, s sdk.Shard) error {
	a.mu.Lock()
	a.received = nil
	a.mu.Unlock()
	return a.app.DropShard(ctx, s)
}

// kept is what the last ReceiveState left.
func (a *streamApp) kept() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.received
}

// hold makes StreamState wait in the middle for its context to end. The channel is closed once it does.
func (a *streamApp) hold() <-chan struct{} {
	holding := make(chan struct{})
	once := sync.OnceFunc(func() { close(holding) })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.during = func(ctx context.Context, _ io.Writer) error {
		once()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return holding
}

// fakeSource is a ShardHostService that sends whatever it was told to.
type fakeSource struct {
	shardmanagerv1connect.UnimplementedShardHostServiceHandler
	stream func(ctx context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error
}

func (f *fakeSource) StreamState(ctx context.Context, req *pb.StreamStateRequest, out *connect.ServerStream[pb.StreamStateResponse]) error {
	return f.stream(ctx, req, out.Send)
}

// serveSource starts it on a loopback address.
func serveSource(t *testing.T, f *fakeSource) *pb.Peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardHostServiceHandler(f))
	server := transport.NewServer(context.Background(), mux)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return &pb.Peer{Server: "fake.kv", Incarnation: 99, DataAddress: listener.Addr().String()}
}

func hostClient(s *sdktest.Server) shardmanagerv1connect.ShardHostServiceClient {
	return shardmanagerv1connect.NewShardHostServiceClient(http.DefaultClient, "http://"+s.Address)
}

func peerOf(s *sdktest.Server) *pb.Peer {
	return &pb.Peer{Server: s.Name, Incarnation: s.Agent.Incarnation(), DataAddress: s.Address}
}

func commandTo(s *sdktest.Server, o sdktest.Order) *pb.ShardCommand {
	return &pb.ShardCommand{App: "kv", Shard: testShard, Term: o.Term, Move: o.Move, Incarnation: s.Agent.Incarnation()}
}

// prepareFrom gives PrepareAddShard with any source.
func prepareFrom(ctx context.Context, s *sdktest.Server, from *pb.Peer) error {
	_, err := hostClient(s).PrepareAddShard(ctx, &pb.PrepareAddShardRequest{Command: commandTo(s, move), From: from})
	return err
}

// streamPair is two servers of streaming applications; a is primary, with n counters.
func streamPair(t *testing.T, ctx context.Context, n int, opts ...sdk.HostOption) (a, b *sdktest.Server, source, target *streamApp) {
	t.Helper()
	cluster := sdktest.NewCluster(t, "kv")
	source, target = newStreamApp(), newStreamApp()
	a, b = cluster.Start("a", source, mountApp(source), opts...), cluster.Start("b", target, mountApp(target), opts...)
	must(t, cluster.Grant(ctx, testShard, a))
	for i := range n {
		source.set(fmt.Sprintf("key-%06d", i), i)
	}
	return a, b, source, target
}
