package mapfeed

import (
	"context"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// An older map never replaces a newer one, a newer epoch's always does (R23).
func TestHubVersions(t *testing.T) {
	h := NewHub(HubConfig{})
	if _, ok := h.Map(testApp); ok {
		t.Fatal("an empty hub has a map")
	}
	if err := h.Apply(move(version(5, 1), 0, "b.kv")); err == nil {
		t.Error("a delta was applied to nothing")
	}
	for _, step := range []struct {
		v    shard.Version
		want bool
	}{
		{version(5, 3), true}, {version(5, 3), false}, {version(5, 2), false}, {version(4, 9), false}, {version(6, 1), true}, {version(6, 2), true},
	} {
		if got := h.Set(testMap(t, step.v)); got != step.want {
			t.Errorf("Set(%s) = %t, want %t", step.v, got, step.want)
		}
	}
	if err := h.Apply(move(version(6, 1), 0, "b.kv")); err == nil {
		t.Error("a delta from a version that is gone was applied")
	}
	mustApply(t, h, move(version(6, 2), 0, "b.kv"))
	if m, _ := h.Map(testApp); m.Version != version(6, 3) {
		t.Errorf("version %s after the delta, want 0.6.3", m.Version)
	}
	h.Remove(testApp)
	h.Remove(testApp)
	if _, ok := h.Map(testApp); ok {
		t.Error("the app is still there after Remove")
	}
	if !h.Set(testMap(t, version(1, 1))) {
		t.Error("an app made anew was refused")
	}
}

func TestHubPut(t *testing.T) {
	h := NewHub(HubConfig{})
	first := testMap(t, version(5, 1))
	d := move(first.Version, 1, "b.kv")
	second, err := first.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Put(Update{Map: first}); err != nil {
		t.Fatal(err)
	}
	if err := h.Put(Update{Map: second, Delta: &d}); err != nil {
		t.Fatal(err)
	}
	if got := h.read(h.feeds[testApp], first.Version); !got.known || len(got.frames) != 1 {
		t.Errorf("after a delta that fits: known %t, %d frames, want one frame", got.known, len(got.frames))
	}
	if err := h.Put(Update{Map: second, Delta: &d}); err != nil {
		t.Errorf("the same update again: %v, want it ignored", err)
	}
	far := move(version(5, 7), 1, "a.kv")
	jumped := testMap(t, far.Version)
	if err := h.Put(Update{Map: jumped, Delta: &far}); err != nil {
		t.Fatal(err)
	}
	if got := h.read(h.feeds[testApp], first.Version); got.current != jumped || got.known {
		t.Error("a delta that does not fit must replace the map whole")
	}
	if err := h.Put(Update{Map: second, Delta: &far}); err == nil {
		t.Error("a delta of another version than its map's was taken")
	}
}

// The history is bounded by deltas and by changed shards, and whoever is behind it is told so.
func TestHistoryLimits(t *testing.T) {
	h := NewHub(HubConfig{})
	h.Set(testMap(t, version(1, 1)))
	f := h.feeds[testApp]
	v := version(1, 1)
	for range maxFrames + 5 {
		d := move(v, 0, "b.kv")
		mustApply(t, h, d)
		v = d.Version
	}
	if len(f.frames) != maxFrames || f.entries != maxFrames {
		t.Fatalf("%d frames with %d entries, want %d", len(f.frames), f.entries, maxFrames)
	}
	for _, check := range []struct {
		from  shard.Version
		known bool
		steps int
	}{
		{version(1, 1), false, 0}, {version(1, 5), false, 0}, {version(1, 6), true, maxFrames}, {v, true, 0},
		{version(1, v.Counter-1), true, 1}, {version(2, 1), false, 0}, {shard.Version{}, false, 0}, {version(1, v.Counter+1), false, 0},
	} {
		got := h.read(f, check.from)
		if got.known != check.known || len(got.frames) != check.steps {
			t.Errorf("from %s: known %t with %d frames, want %t with %d", check.from, got.known, len(got.frames), check.known, check.steps)
		}
	}
	big := shard.Delta{App: testApp, Base: v, Version: shard.Version{Epoch: v.Epoch, Counter: v.Counter + 1}}
	for range maxFrameEntries {
		big.Shards = append(big.Shards, shard.Entry{Index: 1, Primary: "a.kv", Term: 2})
	}
	mustApply(t, h, big)
	if len(f.frames) != 1 || f.entries != maxFrameEntries {
		t.Errorf("%d frames with %d entries after a huge delta, want that one only", len(f.frames), f.entries)
	}
}

// A snapshot is encoded once for the watchers of a while; what they get is the same bytes as plain messages.
func TestEncodedOnce(t *testing.T) {
	h := NewHub(HubConfig{})
	h.Set(testMap(t, version(1, 1)))
	f := h.feeds[testApp]
	first := h.snapshotOf(f)
	v := version(1, 1)
	for range snapshotReuse {
		d := move(v, 2, "b.kv")
		mustApply(t, h, d)
		v = d.Version
	}
	if h.snapshotOf(f) != first {
		t.Errorf("a new snapshot after %d deltas, want the first one again", snapshotReuse)
	}
	mustApply(t, h, move(v, 2, "a.kv"))
	again := h.snapshotOf(f)
	if again == first || again.version != f.current.Version {
		t.Errorf("snapshot of %s after %d deltas, want one of %s", again.version, snapshotReuse+1, f.current.Version)
	}
	for _, m := range []*message{first, again, f.frames[0].message} {
		plain, err := proto.Marshal(m.plain())
		if err != nil {
			t.Fatal(err)
		}
		packed, err := proto.Marshal(m.packed())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(plain, packed) {
			t.Errorf("message of %s: packed form differs from the plain one", m.version)
		}
		if m.packed() != m.packed() {
			t.Errorf("message of %s: packed twice", m.version)
		}
	}
}

func TestSubscribe(t *testing.T) {
	h := NewHub(HubConfig{})
	updates := make(chan Update, 10)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- h.Subscribe(ctx, testApp, func(u Update) { updates <- u }) }()
	h.Set(testMap(t, version(1, 1)))
	if u := next(t, updates, "map"); u.Delta != nil || u.Map.Version != version(1, 1) {
		t.Fatalf("first update: %s, delta %v, want the whole map", u.Map.Version, u.Delta)
	}
	mustApply(t, h, move(version(1, 1), 3, "b.kv"))
	u := next(t, updates, "delta")
	if u.Delta == nil || u.Map.Version != version(1, 2) {
		t.Fatalf("second update: %s, delta %v, want the delta", u.Map.Version, u.Delta)
	}
	want, _ := h.Map(testApp)
	sameMap(t, u.Map, want)
	h.Remove(testApp)
	if err := next(t, done, "end"); err != nil {
		t.Errorf("after Remove: %v, want nil", err)
	}
	h.Set(testMap(t, version(1, 3)))
	go func() { done <- h.Subscribe(ctx, testApp, func(u Update) { updates <- u }) }()
	next(t, updates, "map")
	cancel()
	if err := next(t, done, "end"); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v, want context canceled", err)
	}
}

// Readers that look at any moment reach the hub's map by what they are given, whatever happens to it.
func TestReadersReachTheMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := NewHub(HubConfig{})
		h.Set(testMap(t, version(1, 1)))
		f := h.feeds[testApp]
		readers := make([]*shard.Map, 3)
		servers := []shard.ServerID{"a.kv", "b.kv", ""}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			m, _ := h.Map(testApp)
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				h.Set(testMap(t, version(m.Version.Epoch.Index+1, 1)))
			default:
				i := shard.Index(rapid.IntRange(0, 7).Draw(rt, "shard"))
				mustApply(t, h, move(m.Version, i, servers[rapid.IntRange(0, 2).Draw(rt, "server")]))
			}
			at := rapid.IntRange(0, len(readers)-1).Draw(rt, "reader")
			now := h.read(f, versionOf(readers[at]))
			if !now.known {
				readers[at] = now.current
				continue
			}
			reached, err := replay(readers[at], now.frames, func(Update) {})
			if err != nil {
				rt.Fatal(err)
			}
			readers[at] = reached
			sameMap(t, reached, now.current)
		}
	})
}
