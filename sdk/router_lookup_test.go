package sdk

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// largeRouter has a map of n shards on 1 000 servers, and nobody to follow.
func largeRouter(t testing.TB, n uint32) *Router {
	t.Helper()
	const servers = 1000
	list := make([]shard.Server, servers)
	for i := range list {
		agent := fmt.Sprintf("agent-%03d", i)
		list[i] = shard.Server{ID: shard.MakeServerID(agent, "kv"), App: "kv", Agent: agent, DataAddress: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250)}
	}
	entries := make([]shard.Entry, n)
	for i := range entries {
		entries[i] = shard.Entry{Index: shard.Index(i), Primary: list[i%servers].ID, Term: shard.Term(i + 1)}
	}
	m, err := shard.NewMap("kv", shard.Version{Counter: 1}, shard.HashSpace{Shards: n}, list, entries)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRouter("kv", WithAgent("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	r.view.Store(&mapView{m: m, changed: make(chan struct{})})
	return r
}

// randomKeys are n keys of 16 bytes, from a fixed seed.
func randomKeys(n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, random.Uint64()), random.Uint64())
	}
	return keys
}

func TestLookup(t *testing.T) {
	r := largeRouter(t, 100_000)
	space := shard.HashSpace{Shards: 100_000}
	for _, key := range randomKeys(1000) {
		i := space.Of(key)
		route, ok := r.Lookup(key)
		byString, okString := r.LookupString(string(key))
		if !ok || !okString || route != byString {
			t.Fatalf("key %x: %+v and, as a string, %+v", key, route, byString)
		}
		if route.Index() != uint32(i) || route.Shard() != fmt.Sprintf("%05d", i) || route.Term() != uint64(i)+1 ||
			route.Server() != fmt.Sprintf("agent-%03d.kv", i%1000) || route.Address() != fmt.Sprintf("10.0.%d.%d:80", i%1000/250, i%1000%250) {
			t.Fatalf("key %x of shard %d: shard %s at %s (%s), term %d", key, i, route.Shard(), route.Server(), route.Address(), route.Term())
		}
	}
}

func TestLookupWithoutRoute(t *testing.T) {
	r := largeRouter(t, 4)
	m := r.view.Load().m
	without, err := m.Apply(shard.Delta{App: "kv", Base: m.Version, Version: shard.Version{Counter: 2}, Shards: []shard.Entry{{Index: 0}, {Index: 1}, {Index: 2}, {Index: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	r.view.Store(&mapView{m: without, changed: make(chan struct{})})
	if route, ok := r.LookupString("a"); ok {
		t.Errorf("a shard without primary was found at %s", route.Address())
	}
	r.view.Store(&mapView{changed: make(chan struct{})})
	if _, ok := r.Lookup([]byte("a")); ok || r.Version() != "" {
		t.Error("a route without a map")
	}
	var zero Route
	if zero.Server() != "" || zero.Region() != "" || zero.Zone() != "" || zero.Address() != "" {
		t.Error("the zero route says something")
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	r := largeRouter(t, 100_000)
	keys := randomKeys(1000)
	text := make([]string, len(keys))
	for i, key := range keys {
		text[i] = string(key)
	}
	at := 0
	for name, lookup := range map[string]func() bool{
		"Lookup":       func() bool { _, ok := r.Lookup(keys[at]); return ok },
		"LookupString": func() bool { _, ok := r.LookupString(text[at]); return ok },
	} {
		if got := testing.AllocsPerRun(1000, func() {
			if at = (at + 1) % len(keys); !lookup() {
				t.Fatal("not found")
			}
		}); got != 0 {
			t.Errorf("%s: %.1f allocations, want none", name, got)
		}
	}
}

// BenchmarkLookup: 1 000 000 shards, random 16-byte keys; at most 50 ns and no allocation.
func BenchmarkLookup(b *testing.B) {
	r := largeRouter(b, 1_000_000)
	keys := randomKeys(1 << 16)
	b.Run("bytes", func(b *testing.B) {
		b.ReportAllocs()
		at := 0
		for b.Loop() {
			route, ok := r.Lookup(keys[at&(len(keys)-1)])
			if !ok || route.address == "" {
				b.Fatal("not found")
			}
			at++
		}
	})
	b.Run("string", func(b *testing.B) {
		text := make([]string, len(keys))
		for i, key := range keys {
			text[i] = string(key)
		}
		b.ReportAllocs()
		at := 0
		for b.Loop() {
			route, ok := r.LookupString(text[at&(len(text)-1)])
			if !ok || route.address == "" {
				b.Fatal("not found")
			}
			at++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			at := rand.IntN(len(keys))
			for pb.Next() {
				if _, ok := r.Lookup(keys[at&(len(keys)-1)]); !ok {
					b.Error("not found")
				}
				at++
			}
		})
	})
}
