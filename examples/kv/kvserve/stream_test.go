package kvserve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// metered is an App that measures what goes to the next owner.
type metered struct {
	*App
	bulk, delta atomic.Int64
}

func (m *metered) StreamState(ctx context.Context, s sdk.Shard, to sdk.Peer, w io.Writer) error {
	return m.App.StreamState(ctx, s, to, writerFunc(func(p []byte) (int, error) {
		m.bulk.Add(int64(len(p)))
		return w.Write(p)
	}))
}

func (m *metered) StateDelta(ctx context.Context, s sdk.Shard, to sdk.Peer) ([]byte, error) {
	delta, err := m.App.StateDelta(ctx, s, to)
	m.delta.Add(int64(len(delta)))
	return delta, err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestMoveTakesTheCacheAlong: under load, the cache goes to the new owner while the old one serves on, and what the load changed since is
// far less and arrives too: the new owner knows what the store has.
func TestMoveTakesTheCacheAlong(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const shard, keys = "7", 5000
	store := startStore(t)
	cluster := sdktest.NewCluster(t, AppName)
	start := func(name string) (*sdktest.Server, *metered) {
		app := &metered{App: NewApp(kvstore.NewClient(store), slog.New(slog.DiscardHandler))}
		return cluster.Start(name, app, func(h *sdk.Host, mux *http.ServeMux) {
			path, service := app.Service()
			mux.Handle(path, h.Middleware(service))
		}), app
	}
	a, from := start("a")
	b, to := start("b")
	move := sdktest.Order{Term: 2, Move: 2}
	if err := cluster.Grant(ctx, shard, a); err != nil {
		t.Fatal(err)
	}
	held, err := from.find(sdk.Shard{ID: shard, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys { // as if they had been read once; the store checks every write
		held.remember(fmt.Sprintf("cold-%04d", i), kvstore.Entry{Value: int64(i), Version: 1})
	}
	var writes atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for worker := range 3 {
		client := kvv1connect.NewKvServiceClient(http.DefaultClient, "http://"+a.Address)
		load.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				call, info := connect.NewClientContext(ctx)
				info.RequestHeader().Set(sdk.HeaderShard, shard)
				request := &kvv1.IncrementRequest{
					Key: fmt.Sprintf("hot-%d", worker), RequestId: &kvv1.RequestId{Client: uint64(worker + 1), Number: n},
				}
				if _, err := client.Increment(call, request); err != nil {
					t.Error(err)
					return
				}
				writes.Add(1)
			}
		})
	}
	more := func(n int64) {
		for from := writes.Load(); writes.Load() < from+n && !t.Failed(); {
			runtime.Gosched()
		}
	}
	more(20)
	if err := b.PrepareAddShard(ctx, shard, move, a); err != nil {
		t.Fatal(err)
	}
	more(20)
	if _, err := a.PrepareDropShard(ctx, shard, move, b, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.AddShard(ctx, shard, move); err != nil {
		t.Fatal(err)
	}
	more(20)
	close(stop)
	load.Wait()
	taken, err := to.find(sdk.Shard{ID: shard, Term: 2})
	if err != nil {
		t.Fatal(err)
	}
	if e := taken.cached("cold-4999"); e != (kvstore.Entry{Value: 4999, Version: 1}) {
		t.Errorf("a key that nobody asked for since came as %+v", e)
	}
	stored, err := to.store.Scan(ctx, shard, 2)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for key, e := range stored {
		sum += e.Value
		if diff := cmp.Diff(e, taken.cached(key)); diff != "" {
			t.Errorf("%s, store and cache:\n%s", key, diff)
		}
	}
	if sum != writes.Load() {
		t.Errorf("the store counts %d increments, %d were acknowledged", sum, writes.Load())
	}
	if bulk, delta := from.bulk.Load(), from.delta.Load(); delta == 0 || delta*100 > bulk {
		t.Errorf("a delta of %d bytes after a snapshot of %d", delta, bulk)
	}
	if len(to.received) != 0 || len(held.changed) != 0 {
		t.Errorf("%d snapshots and %d notes are left", len(to.received), len(held.changed))
	}
}

// TestCacheAfterAMove: a server that took the cache along answers from it; one that begins cold misses each key once. Both say so in the answer.
func TestCacheAfterAMove(t *testing.T) {
	for _, cold := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		const shard = "7"
		store := startStore(t)
		cluster := sdktest.NewCluster(t, AppName)
		start := func(name string) (*sdktest.Server, *App) {
			app := NewApp(kvstore.NewClient(store), slog.New(slog.DiscardHandler))
			app.cold = cold
			return cluster.Start(name, app.callbacks(), func(h *sdk.Host, mux *http.ServeMux) {
				path, service := app.Service()
				mux.Handle(path, h.Middleware(service))
			}), app
		}
		a, _ := start("a")
		b, app := start("b")
		ask := func(at *sdktest.Server) string {
			call, info := connect.NewClientContext(ctx)
			info.RequestHeader().Set(sdk.HeaderShard, shard)
			client := kvv1connect.NewKvServiceClient(http.DefaultClient, "http://"+at.Address)
			if _, err := client.Get(call, &kvv1.GetRequest{Key: "k"}); err != nil {
				t.Fatal(err)
			}
			return info.ResponseHeader().Get(HeaderCache)
		}
		if err := cluster.Grant(ctx, shard, a); err != nil {
			t.Fatal(err)
		}
		call, info := connect.NewClientContext(ctx)
		info.RequestHeader().Set(sdk.HeaderShard, shard)
		request := &kvv1.IncrementRequest{Key: "k", RequestId: &kvv1.RequestId{Client: 1, Number: 1}}
		if _, err := kvv1connect.NewKvServiceClient(http.DefaultClient, "http://"+a.Address).Increment(call, request); err != nil {
			t.Fatal(err)
		}
		if got := ask(a); got != CacheHit {
			t.Errorf("cold %v: the old owner says %q of what it wrote", cold, got)
		}
		if err := cluster.Move(ctx, shard, b); err != nil {
			t.Fatal(err)
		}
		want := CacheHit
		if cold {
			want = CacheMiss
		}
		if first, second := ask(b), ask(b); first != want || second != CacheHit {
			t.Errorf("cold %v: the new owner says %q, then %q", cold, first, second)
		}
		if hits, misses := app.cache.hits.Load(), app.cache.misses.Load(); hits+misses != 2 || (misses == 1) != cold {
			t.Errorf("cold %v: it counts %d hits and %d misses", cold, hits, misses)
		}
	}
}
