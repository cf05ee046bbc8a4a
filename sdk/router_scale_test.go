package sdk

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// replicatedColumns is a map of n shards on 1 000 servers, each shard with a primary and a secondary.
func replicatedColumns(t testing.TB, n uint32, counter uint64) *shard.Map {
	t.Helper()
	const servers = 1000
	list := make([]shard.Server, servers)
	for i := range list {
		agent := fmt.Sprintf("agent-%03d", i)
		list[i] = shard.Server{
			ID: shard.MakeServerID(agent, "kv"), App: "kv", Agent: agent, Incarnation: shard.Incarnation(i + 1),
			DataAddress: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250), Locality: shard.Locality{Region: "eu", Zone: fmt.Sprintf("eu-%d", i%3)},
		}
	}
	c := shard.Columns{Primaries: make([]uint32, n), Terms: make([]shard.Term, n), Secondaries: [][]uint32{make([]uint32, n)}}
	for i := range n {
		c.Primaries[i], c.Terms[i], c.Secondaries[0][i] = 1+(i*7)%servers, shard.FirstTerm(1)+shard.Term(1+i%500), 1+(i*7+13)%servers
	}
	m, err := shard.MapOfColumns("kv", shard.Version{Epoch: shard.Epoch{Index: 1}, Counter: counter}, shard.HashSpace{Shards: n}, list, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// liveHeap is the memory that is reachable now.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

const million = 1_000_000

// BenchmarkLoadFeed: a Router without a map gets one of 1 000 000 shards with a secondary each from a hub on loopback; at most 2 s and
// 64 MiB of live heap.
func BenchmarkLoadFeed(b *testing.B) {
	source := startMapSource(b)
	source.hub.Set(replicatedColumns(b, million, 1))
	first := startRouter(b, source) // has the hub encode the map, once for all Routers
	if err := first.Ready(within(b, time.Minute)); err != nil {
		b.Fatal(err)
	}
	live := 0.0
	for b.Loop() {
		b.StopTimer()
		before := liveHeap()
		b.StartTimer()
		r, stop := runRouter(b, WithAgent(source.address))
		if err := r.Ready(within(b, time.Minute)); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		live = max(live, float64(int64(liveHeap())-int64(before))/(1<<20))
		stop()
		runtime.KeepAlive(r)
		b.StartTimer()
	}
	b.ReportMetric(live, "live-MiB")
}

// BenchmarkLoadCache: the same from the disk cache, while nobody answers.
func BenchmarkLoadCache(b *testing.B) {
	dir := b.TempDir()
	source := startMapSource(b)
	source.hub.Set(replicatedColumns(b, million, 1))
	writer, stop := runRouter(b, WithAgent(source.address), WithCacheDir(dir))
	if err := writer.Ready(within(b, time.Minute)); err != nil {
		b.Fatal(err)
	}
	stop()
	source.stop()
	live := 0.0
	for b.Loop() {
		b.StopTimer()
		before := liveHeap()
		b.StartTimer()
		r, err := NewRouter("kv", WithAgent("127.0.0.1:1"), WithCacheDir(dir))
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := r.LookupString("a"); !ok {
			b.Fatal("no route from the cache")
		}
		b.StopTimer()
		live = max(live, float64(int64(liveHeap())-int64(before))/(1<<20))
		runtime.KeepAlive(r)
		b.StartTimer()
	}
	b.ReportMetric(live, "live-MiB")
}

// runRouter runs a Router until stop is called.
func runRouter(t testing.TB, opts ...RouterOption) (r *Router, stop func()) {
	t.Helper()
	r, err := NewRouter("kv", opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Run(ctx)
	}()
	return r, func() {
		cancel()
		<-ended
	}
}

// BenchmarkDelta: a change of one shard, from its publication by a hub on loopback to its application by each of 1 000 Routers, each with a connection
// of its own; the p99 over all of them is at most 200 ms. One process is the hub and all Routers.
func BenchmarkDelta(b *testing.B) {
	const routers, shards = 1000, 10_000
	source := startMapSource(b)
	m := replicatedColumns(b, shards, 1)
	source.hub.Set(m)
	applied := make(chan time.Time, routers)
	for range routers {
		r, stop := runRouter(b, WithAgent(source.address))
		b.Cleanup(stop)
		if err := r.Ready(within(b, time.Minute)); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(r.Watch(func(MapChange) { applied <- time.Now() }))
	}
	var took []time.Duration
	at := shard.Index(0)
	for b.Loop() {
		at++
		d := shard.Delta{App: "kv", Base: m.Version, Version: m.Version}
		d.Version.Counter++
		d.Shards = []shard.Entry{{Index: at % shards, Primary: m.Servers()[0].ID, Term: shard.FirstTerm(2) + shard.Term(at)}}
		next, err := m.Apply(d)
		if err != nil {
			b.Fatal(err)
		}
		published := time.Now()
		if err := source.hub.Put(mapfeed.Update{Map: next, Delta: &d}); err != nil {
			b.Fatal(err)
		}
		for range routers {
			took = append(took, (<-applied).Sub(published))
		}
		m = next
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
}

// A Router keeps one copy of a large map, 16 bytes a shard, and nothing of the message that it came in.
func TestLargeMapIsKeptOnce(t *testing.T) {
	source := startMapSource(t)
	source.hub.Set(replicatedColumns(t, million, 1))
	readyRouter(t, source) // has the hub encode the map
	before := liveHeap()
	r := readyRouter(t, source)
	if live := (int64(liveHeap()) - int64(before)) >> 20; live < 10 || live > 24 {
		t.Errorf("%d MiB of live heap for a map of %d shards with a secondary each, want about 16", live, million)
	}
	runtime.KeepAlive(r)
}
