package mapfeed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// write saves one map and ends the cache's Run.
func write(t *testing.T, path string, m *shard.Map) {
	t.Helper()
	c, _, err := OpenCache(path, "test", testApp)
	if err != nil {
		t.Fatal(err)
	}
	c.Save(m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCacheKeepsTheLastMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	if _, m, err := OpenCache(path, "test", testApp); err != nil || m != nil {
		t.Fatalf("no file: %v, %v, want neither map nor error", m, err)
	}
	want := testMap(t, version(3, 4))
	write(t, path, want)
	c, m, err := OpenCache(path, "test", testApp)
	if err != nil {
		t.Fatal(err)
	}
	sameMap(t, m, want)
	c.Save(testMap(t, version(3, 3)))
	if c.pending != nil {
		t.Error("an older map is about to replace the one in the file")
	}
}

func TestCacheRefusesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	write(t, path, testMap(t, version(1, 1)))
	if c, _, err := OpenCache(path, "prod", testApp); err == nil || c != nil || !strings.Contains(err.Error(), `"test"`) {
		t.Errorf("another cluster's file: %v, want an error that names it", err)
	}
	if c, _, err := OpenCache(path, "test", "mail"); err == nil || c != nil || !strings.Contains(err.Error(), `"kv"`) {
		t.Errorf("another app's file: %v, want an error that names it", err)
	}
	if _, m, err := OpenCache(path, "", testApp); err != nil || m == nil {
		t.Errorf("no cluster configured: %v, want the map unchecked", err)
	}
}

func TestCacheMovesDamageAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	m := testMap(t, version(1, 1))
	write(t, path, m)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"empty": {}, "truncated": whole[:len(whole)/2], "flipped": flipped, "other": []byte("hello, world")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		checkMovedAside(t, name, path)
	}
	for name, snapshot := range map[string][]byte{"no snapshot": nil, "bad snapshot": []byte("\x07nonsense")} {
		if err := wire.WriteFile(path, &pb.RouterCache{Cluster: "test", App: "kv", Snapshot: snapshot}); err != nil {
			t.Fatal(err)
		}
		checkMovedAside(t, name, path)
	}
}

func checkMovedAside(t *testing.T, name, path string) {
	t.Helper()
	c, m, err := OpenCache(path, "test", testApp)
	if c == nil || m != nil || !errors.Is(err, wire.ErrCorrupt) {
		t.Fatalf("%s: cache %v, map %v, error %v, want a cache that works, no map and ErrCorrupt", name, c, m, err)
	}
	aside, globErr := filepath.Glob(path + ".corrupt-*")
	if globErr != nil || len(aside) != 1 || !strings.Contains(err.Error(), aside[0]) {
		t.Fatalf("%s: moved to %v, error %q, want one file, named by the error", name, aside, err)
	}
	if err := os.Remove(aside[0]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenCache(path, "test", testApp); err != nil {
		t.Fatalf("%s: second start: %v", name, err)
	}
}

// However fast maps come, the file is written once a second, and the last map when the process ends.
func TestCacheWritesOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "map")
		c, _, err := OpenCache(path, "test", testApp)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx, nil) }()
		written := map[shard.Version]bool{}
		const seconds = 5
		for i := range uint64(seconds * 20) {
			c.Save(testMap(t, version(1, i+1)))
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			written[c.written] = true
		}
		if len(written) < seconds || len(written) > seconds+1 {
			t.Errorf("%d versions written in %d s, want one a second", len(written), seconds)
		}
		cancel()
		<-done
		if _, m, err := OpenCache(path, "test", testApp); err != nil || m.Version != version(1, seconds*20) {
			t.Errorf("after the end: %v, %v, want the last map", m, err)
		}
	})
}

// A disk that refuses is reported and tried again with the next map.
func TestCacheTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	c, _, err := OpenCache(filepath.Join(dir, "map"), "test", testApp)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	troubles := make(chan error, 10)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, func(err error) { troubles <- err }) }()
	c.Save(testMap(t, version(1, 1)))
	next(t, troubles, "trouble")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Save(testMap(t, version(1, 2)))
	cancel()
	next(t, done, "end")
	if _, m, err := OpenCache(filepath.Join(dir, "map"), "test", testApp); err != nil || m == nil || m.Version != version(1, 2) {
		t.Errorf("after the disk came back: %v, %v, want 0.1.2", m, err)
	}
}

// A process that ends while a map arrives keeps that map.
func TestRunSavedKeepsTheLastMap(t *testing.T) {
	hub := NewHub(HubConfig{})
	hub.Set(testMap(t, version(1, 1)))
	address, _ := serve(t, hub)
	path := filepath.Join(t.TempDir(), "map")
	c, _, err := OpenCache(path, "test", testApp)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	finish := make(chan struct{})
	arriving := make(chan struct{})
	f, err := NewFollower(FollowerConfig{App: testApp, Addresses: []string{address}}, func(u Update) {
		close(arriving)
		<-finish
		c.Save(u.Map)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- RunSaved(ctx, f, c, nil) }()
	next(t, arriving, "map")
	cancel()
	time.AfterFunc(50*time.Millisecond, func() { close(finish) }) // time to end too early, for a cache that does
	if err := next(t, done, "end"); !errors.Is(err, context.Canceled) {
		t.Errorf("RunSaved: %v", err)
	}
	if _, m, err := OpenCache(path, "test", testApp); err != nil || m == nil || m.Version != version(1, 1) {
		t.Errorf("on disk: %v, %v, want 0.1.1", m, err)
	}
}
