package ledger_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// idOf is the id of the shard at an index now, or of the last one that was there.
func (w *world) idOf(at shard.Index) shard.ID {
	if !w.store.spec.Space.Named {
		return w.store.spec.Space.Hash.ID(at)
	}
	for i := len(w.history[at]) - 1; i >= 0; i-- {
		if id := w.history[at][i].ID; id != "" {
			return id
		}
	}
	return ""
}

func (w *world) indexOf(id shard.ID) (shard.Index, bool) {
	if !w.store.spec.Space.Named {
		return w.store.spec.Space.Hash.Index(id)
	}
	at, ok := w.named[id]
	return at, ok
}

// ids lists every shard that there is, or ever was.
func (w *world) ids() []shard.ID {
	if w.store.spec.Space.Named {
		return shard.SortedKeys(w.named)
	}
	list := make([]shard.ID, w.store.spec.Space.Hash.Shards)
	for i := range list {
		list[i] = w.store.spec.Space.Hash.ID(shard.Index(i))
	}
	return list
}

func (w *world) aShard(t *rapid.T) shard.ID {
	ids := w.ids()
	if len(ids) == 0 {
		return "none"
	}
	return ids[rapid.IntRange(0, len(ids)-1).Draw(t, "shard")]
}

// comings are what happens to a named key space.
var comings = []action{
	{"shards are created", onLeader(func(t *rapid.T, w *world, ld *leader) {
		ld.requests++
		first := rapid.IntRange(0, 5).Draw(t, "first")
		var ids []shard.ID
		for i := range rapid.IntRange(1, 3).Draw(t, "shards") {
			ids = append(ids, shard.ID(fmt.Sprintf("s%d", first+i)))
		}
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.CreateShards{App: theApp, IDs: ids}})
	})},
	{"a shard is deleted", onLeader(func(t *rapid.T, w *world, ld *leader) {
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.DeleteShards{App: theApp, IDs: []shard.ID{w.aShard(t)}}})
	})},
}

// TestRandomNames is TestRandom in a named key space, where shards come and go as well, also in the middle of moves. In the end nobody holds
// a shard that is not there.
func TestRandomNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(quick())
		w.plan = w.restless
		for i := range 3 {
			w.addAgent(fmt.Sprintf("a%d", i), fmt.Sprintf("z%d", i%2), 1000)
		}
		w.store.spec = &ledger.Spec{Name: theApp, Space: shard.KeySpace{Named: true}, ResourceVersion: 1}
		ld := w.elect(1000)
		ld.requests++
		ld.step(ledger.Request{ID: ld.requests, Wish: wish.CreateShards{App: theApp, IDs: []shard.ID{"s0", "s1", "s2"}}})
		w.run(3 * second)
		kinds := rapid.SliceOfN(rapid.IntRange(0, len(actions)-1), 1, 6).Draw(t, "kinds of faults")
		for range rapid.IntRange(20, 80).Draw(t, "actions") {
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				a := comings[rapid.IntRange(0, 1).Draw(t, "coming")]
				w.note("ACTION %s", a.name)
				a.do(t, w)
			}
			act(t, w, kinds)
			w.mustBeWhole(t)
		}
		w.calm()
		w.settle()
		w.mustBeWhole(t)
		w.mustBeOwned(t)
		w.mustHoldNothingElse(t)
	})
}

// mustHoldNothingElse: what agents hold is what the rows say, and the map knows just the shards that there are.
func (w *world) mustHoldNothingElse(t interface{ Fatalf(string, ...any) }) {
	there := map[shard.ID]bool{}
	for _, r := range w.rows() {
		there[r.ID] = r.ID != ""
	}
	for _, a := range w.agents {
		for id, s := range a.shards {
			if a.up && s.phase != shard.None && !there[id] {
				t.Fatalf("%s holds %s as %s, which was deleted\ntrace:\n%s", a.id, id, s.phase, lines(w.trace[max(0, len(w.trace)-300):]))
			}
		}
	}
	m := w.store.lock.maps[theApp]
	for id := range w.named {
		if at, ok := m.IndexOf(id); ok != there[id] || ok && m.ID(at) != id {
			t.Fatalf("the map has %s: %t, the rows: %t\ntrace:\n%s", id, ok, there[id], lines(w.trace[max(0, len(w.trace)-300):]))
		}
	}
}

// An app is never given more shards than a map can hold, by however many at once.
func TestNamesAreBounded(t *testing.T) {
	rows := make([]ledger.Row, shard.MaxShards-1)
	for i := range rows {
		rows[i] = ledger.Row{ID: shard.ID(fmt.Sprint("s", i)), Term: 1, Move: 1}
	}
	app := ledger.AppState{Spec: ledger.Spec{Name: theApp, Space: shard.KeySpace{Named: true}, ResourceVersion: 1}, Rows: rows}
	b := newBare(t, quick(), ledger.Loaded{Apps: []ledger.AppState{app}})
	b.step(ledger.Request{ID: 1, Wish: wish.CreateShards{App: theApp, IDs: []shard.ID{"a", "b"}}})
	if len(b.out.Replies) != 1 || b.out.Replies[0].Err == nil || b.out.Replies[0].Err.Subject != "shards" || len(b.out.Writes) != 0 {
		t.Errorf("two more: %v", b.out.Replies)
	}
	b.step(ledger.Request{ID: 2, Wish: wish.CreateShards{App: theApp, IDs: []shard.ID{"a"}}})
	if len(b.out.Replies) != 0 || len(b.out.Writes) != 1 {
		t.Errorf("one more: %v, %d writes", b.out.Replies, len(b.out.Writes))
	}
}
