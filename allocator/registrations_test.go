package allocator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// One read of all servers answers many; each answer says what it knows, and no more.
func TestReadServers(t *testing.T) {
	for _, others := range []int{0, 2 * singleReads} {
		t.Run(fmt.Sprint(others, " more"), func(t *testing.T) {
			c := newTestCluster(t)
			a, _ := candidate(t, c.store)
			tenure := &tenure{a: a}
			x := c.registered("x", "kv", 5)
			mustTxn(t, c.store, coord.Op{Verb: coord.Set, Key: a.keys.Server("bad.kv"), Value: []byte("rubbish")})
			ids := []shard.ServerID{"x.kv", "absent.kv", "bad.kv", "x.kv"}
			for i := range others {
				ids = append(ids, shard.ServerID(fmt.Sprintf("other%d.kv", i)))
			}
			before := a.clock()
			answers := tenure.readServers(t.Context(), ids)
			if len(answers) != 3+others {
				t.Fatalf("%d answers, expected one for each server", len(answers))
			}
			for _, got := range answers {
				if got.Asked.Raw <= before.Raw || got.Asked.Raw > a.clock().Raw {
					t.Errorf("asked at %v", got.Asked)
				}
				switch got.Server {
				case "x.kv":
					if !got.Found || got.Err != "" || got.Key.Server.Incarnation != 5 || got.Key.Session != string(x.session) || got.Key.Create == 0 {
						t.Errorf("%+v", got)
					}
				case "bad.kv":
					if got.Found || !strings.Contains(got.Err, "bad.kv") {
						t.Errorf("%+v: expected an error, which is no absence", got)
					}
				default:
					if got.Found || got.Err != "" {
						t.Errorf("%+v: expected absence", got)
					}
				}
			}
		})
	}
}

// A read that fails says nothing about any server.
func TestReadServersAway(t *testing.T) {
	g := &gate{Store: openStore(t)}
	a, _ := candidate(t, g)
	g.set(true)
	for _, n := range []int{1, 2 * singleReads} {
		ids := make([]shard.ServerID, n)
		for i := range ids {
			ids[i] = shard.ServerID(fmt.Sprint("s", i, ".kv"))
		}
		answers := (&tenure{a: a}).readServers(t.Context(), ids)
		for _, got := range answers {
			if got.Err == "" || got.Found {
				t.Errorf("%d servers: %+v", n, got)
			}
		}
		if len(answers) != n {
			t.Errorf("%d answers for %d servers", len(answers), n)
		}
	}
}

// Watched keys are decoded once each; what changed is seen.
func TestWatchedRegistrations(t *testing.T) {
	c := newTestCluster(t)
	a, _ := candidate(t, c.store)
	seen := registrations{keys: a.keys, known: map[string]known{}}
	list := func() []coord.Entry {
		entries, err := c.store.List(t.Context(), a.keys.Servers())
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	x := c.registered("x", "kv", 5)
	mustTxn(t, c.store, coord.Op{Verb: coord.Set, Key: a.keys.Server("bad.kv"), Value: []byte("rubbish")})
	if got := seen.read(list()); len(got) != 1 || got[0].Server.Incarnation != 5 {
		t.Errorf("first: %+v", got)
	}
	undecoded := list()
	for i := range undecoded {
		undecoded[i].Value = nil // not looked at again
	}
	if got := seen.read(undecoded); len(got) != 1 || got[0].Server.Incarnation != 5 {
		t.Errorf("unchanged: %+v", got)
	}
	end := func(session coord.SessionID) {
		if err := c.store.DestroySession(t.Context(), session); err != nil {
			t.Fatal(err)
		}
	}
	end(x.session)
	x = c.registered("x", "kv", 6)
	if got := seen.read(list()); len(got) != 1 || got[0].Server.Incarnation != 6 {
		t.Errorf("again: %+v", got)
	}
	end(x.session)
	if got := seen.read(list()); len(got) != 0 || len(seen.known) != 1 {
		t.Errorf("gone: %+v, remembers %d", got, len(seen.known))
	}
}
