package sdk

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestNewRouterRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		app  string
		opts []RouterOption
	}{
		"no app":              {"", nil},
		"app with a path":     {"../kv", nil},
		"bad agent":           {"kv", []RouterOption{WithAgent("nowhere")}},
		"bad allocator":       {"kv", []RouterOption{WithAllocators("127.0.0.1:1", "nowhere")}},
		"nobody to follow":    {"kv", []RouterOption{WithAgent("")}},
		"no time for a try":   {"kv", []RouterOption{WithAttemptTimeout(0)}},
		"negative budget":     {"kv", []RouterOption{WithRetryBudget(20, -1)}},
		"cache dir is a file": {"kv", []RouterOption{WithCacheDir(file)}},
	} {
		if _, err := NewRouter(c.app, c.opts...); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// The agent beside it is asked first, the allocators when it does not answer.
func TestRouterSources(t *testing.T) {
	agent, allocator := startMapSource(t), startMapSource(t)
	agent.publish("127.0.0.1:1001")
	allocator.publish("127.0.0.1:1002")
	for name, c := range map[string]struct {
		opts []RouterOption
		want string
	}{
		"agent":                   {[]RouterOption{WithAgent(agent.address), WithAllocators(allocator.address)}, "127.0.0.1:1001"},
		"agent down":              {[]RouterOption{WithAgent(nobody(t)), WithAllocators(nobody(t), allocator.address)}, "127.0.0.1:1002"},
		"no agent's socket":       {[]RouterOption{WithAgent("unix://" + filepath.Join(t.TempDir(), "none")), WithAllocators(allocator.address)}, "127.0.0.1:1002"},
		"no agent is to be asked": {[]RouterOption{WithAgent(""), WithAllocators(allocator.address)}, "127.0.0.1:1002"},
	} {
		t.Run(name, func(t *testing.T) {
			r := readyRouter(t, agent, c.opts...)
			route, ok := r.LookupString("key")
			if !ok || route.Address() != c.want || route.Server() != "agent-a.kv" || route.Shard() != "0" || route.Term() != 1 ||
				route.Region() != "eu" || route.Zone() != "eu-1" {
				t.Errorf("route %+v, want to %s", route, c.want)
			}
			if r.Version() != "0.1.1" {
				t.Errorf("version %q, want 0.1.1", r.Version())
			}
		})
	}
}

func TestReadySaysWhyNot(t *testing.T) {
	source := startMapSource(t)
	source.publish("127.0.0.1:1001")
	ctx, cancel := context.WithCancel(within(t, patience))
	refused := writerFunc(func([]byte) { cancel() }) // the first thing that it logs
	r := startRouter(t, source, WithCluster("other"), WithRouterLogger(slog.New(slog.NewTextHandler(refused, nil))))
	err := r.Ready(ctx)
	if err == nil || !strings.Contains(err.Error(), "no shard map yet") || !strings.Contains(err.Error(), "wrong cluster") {
		t.Errorf("Ready: %v, want an error that says that the cluster is another", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// A router that starts while everybody is gone routes by the map on its disk, and takes a newer one when somebody is back.
func TestRouterStartsFromDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	source := startMapSource(t)
	source.publish("127.0.0.1:1001")
	t.Run("first life", func(t *testing.T) { readyRouter(t, source, WithCacheDir(dir)) })
	gone := nobody(t)
	t.Run("second life", func(t *testing.T) {
		r := readyRouter(t, source, WithCacheDir(dir), WithAgent(gone))
		if route, ok := r.LookupString("key"); !ok || route.Address() != "127.0.0.1:1001" {
			t.Errorf("route %+v, want the one on disk", route)
		}
	})
	t.Run("third life", func(t *testing.T) {
		source.publish("127.0.0.1:1002")
		r, err := NewRouter("kv", WithCacheDir(dir), WithAgent(source.address), WithCluster("test"))
		if err != nil {
			t.Fatal(err)
		}
		changed := make(chan MapChange, 1)
		defer r.Watch(func(c MapChange) { changed <- c })()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		if diff := cmp.Diff(MapChange{Version: "0.1.2", Shards: []string{"0"}}, <-changed); diff != "" {
			t.Error(diff)
		}
		cancel()
		<-done
	})
	if _, err := NewRouter("kv", WithCacheDir(dir), WithCluster("other")); err == nil || !strings.Contains(err.Error(), `"test"`) {
		t.Errorf("another cluster's cache: %v, want an error that names that cluster", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("cache files %v", files)
	}
	if err := os.WriteFile(files[0], []byte("not a map"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r, err := NewRouter("kv", WithCacheDir(dir), WithCluster("test"), WithRouterLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil || r.Version() != "" || !strings.Contains(log.String(), "moved to") {
		t.Errorf("damaged cache: %v, log %q, want it moved aside", err, log.String())
	}
}

func TestWatchTellsChanges(t *testing.T) {
	source := startMapSource(t)
	space := shard.HashSpace{Shards: 3}
	servers := []shard.Server{{ID: "a.kv", App: "kv", Agent: "a", DataAddress: "127.0.0.1:1"}, {ID: "b.kv", App: "kv", Agent: "b", DataAddress: "127.0.0.1:2"}}
	set := func(counter uint64, at ...shard.ServerID) *shard.Map {
		var entries []shard.Entry
		for i, id := range at {
			if id != "" {
				entries = append(entries, shard.Entry{Index: shard.Index(i), Primary: id, Term: 1})
			}
		}
		m, err := shard.NewMap("kv", shard.Version{Epoch: shard.Epoch{Index: 1}, Counter: counter}, space, servers, entries)
		if err != nil {
			t.Fatal(err)
		}
		source.hub.Set(m)
		return m
	}
	set(1, "a.kv", "a.kv", "")
	r := readyRouter(t, source)
	changes := make(chan MapChange, 10)
	stop := r.Watch(func(c MapChange) { changes <- c })
	last := set(2, "a.kv", "b.kv", "b.kv")
	if diff := cmp.Diff(MapChange{Version: "0.1.2", Shards: []string{"1", "2"}}, <-changes); diff != "" {
		t.Errorf("a whole map: %s", diff)
	}
	next := shard.Version{Epoch: last.Version.Epoch, Counter: 3}
	if err := source.hub.Apply(shard.Delta{App: "kv", Base: last.Version, Version: next, Shards: []shard.Entry{{Index: 0, Primary: "b.kv", Term: 2}}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(MapChange{Version: "0.1.3", Shards: []string{"0"}}, <-changes); diff != "" {
		t.Errorf("a delta: %s", diff)
	}
	stop()
	reached := make(chan MapChange, 1)
	defer r.Watch(func(c MapChange) { reached <- c })()
	set(4, "a.kv", "a.kv", "a.kv")
	<-reached
	if len(changes) != 0 {
		t.Errorf("told after stop: %+v", <-changes)
	}
}

func TestOutcomesOfCalls(t *testing.T) {
	r := stillRouter(t, "127.0.0.1:1001")
	dial := errors.New("refused")
	for name, c := range map[string]struct {
		fail      error
		repeat    bool
		attempts  int
		unchanged bool
	}{
		"succeeds":                      {nil, false, 1, true},
		"application's error":           {errors.New("no such row"), true, 1, true},
		"not executed":                  {&Error{Outcome: NotExecuted}, false, 2, false},
		"unknown":                       {&Error{Outcome: Unknown}, false, 1, true},
		"unknown, repeatable":           {&Error{Outcome: Unknown}, true, 2, false},
		"no connection":                 {opError("dial", dial), false, 2, false},
		"connection broke":              {opError("read", dial), false, 1, true},
		"connection broke, repeatable":  {opError("read", dial), true, 2, false},
		"an answer cut off, repeatable": {errCutOff, true, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, patience)
			if c.repeat {
				ctx = WithIdempotent(ctx)
			}
			attempts := 0
			err := r.Do(ctx, "key", func(_ context.Context, route Route) error {
				if attempts++; attempts > 1 {
					return nil
				}
				if route.Address() != "127.0.0.1:1001" {
					t.Errorf("sent to %s", route.Address())
				}
				return c.fail
			})
			if attempts != c.attempts {
				t.Errorf("%d attempts, want %d", attempts, c.attempts)
			}
			if c.unchanged && !errors.Is(err, c.fail) || !c.unchanged && err != nil {
				t.Errorf("error %v, want that of the first attempt: %t", err, c.unchanged)
			}
		})
	}
}
