package shard

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A map reached by deltas equals the map built whole, and the maps before are untouched.
func TestMapApplyEqualsRebuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := HashSpace{Shards: uint32(rapid.IntRange(1, 3*pageShards).Draw(t, "shards"))}
		servers := []Server{{ID: "a.kv"}, {ID: "b.kv"}}
		version := Version{Epoch: Epoch{Index: 7}, Counter: 1}
		m, err := NewMap("kv", version, space, servers, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]Entry, space.Shards)
		for i := range want {
			want[i].Index = Index(i)
		}
		for range rapid.IntRange(1, 8).Draw(t, "deltas") {
			before, frozen := m, m.Entries()
			d := Delta{App: "kv", Base: version, Version: version}
			d.Version.Counter++
			for range rapid.IntRange(0, 5).Draw(t, "entries") {
				e := Entry{Index: Index(rapid.IntRange(0, int(space.Shards)-1).Draw(t, "index"))}
				if to := rapid.IntRange(0, 2).Draw(t, "to"); to > 0 {
					e.Primary, e.Term = servers[to-1].ID, Term(d.Version.Counter)
				}
				for range rapid.IntRange(0, 2).Draw(t, "secondaries") {
					e.Secondaries = append(e.Secondaries, servers[rapid.IntRange(0, 1).Draw(t, "secondary")].ID)
				}
				d.Shards = append(d.Shards, e)
				want[e.Index] = e
			}
			if m, err = m.Apply(d); err != nil {
				t.Fatal(err)
			}
			version = d.Version
			if !slices.EqualFunc(frozen, before.Entries(), Entry.Equal) {
				t.Fatal("applying changed the map before")
			}
		}
		whole, err := MapOfColumns("kv", version, space, m.Servers(), m.Columns())
		if err != nil {
			t.Fatal(err)
		}
		if got := whole.Entries(); !slices.EqualFunc(want, got, Entry.Equal) {
			t.Fatalf("by columns: %s", cmp.Diff(want, got))
		}
		if got := m.Entries(); !slices.EqualFunc(want, got, Entry.Equal) {
			t.Fatal(cmp.Diff(want, got))
		}
	})
}

func TestMapApplyRefuses(t *testing.T) {
	m, err := NewMap("kv", Version{Counter: 3}, HashSpace{Shards: 4}, []Server{{ID: "a.kv"}}, []Entry{{Index: 1, Primary: "a.kv", Term: 5}})
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]Delta{
		"another app":      {App: "other", Base: m.Version, Version: Version{Counter: 4}},
		"an older base":    {App: "kv", Base: Version{Counter: 2}, Version: Version{Counter: 4}},
		"an unknown shard": {App: "kv", Base: m.Version, Version: Version{Counter: 4}, Shards: []Entry{{Index: 4}}},
		"unknown server":   {App: "kv", Base: m.Version, Version: Version{Counter: 4}, Shards: []Entry{{Index: 0, Primary: "b.kv"}}},
	} {
		if _, err := m.Apply(d); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	next, err := m.Apply(Delta{App: "kv", Base: m.Version, Version: Version{Counter: 4}, Servers: []Server{{ID: "b.kv"}},
		Removed: []ServerID{"a.kv"}, Shards: []Entry{{Index: 1, Primary: "b.kv", Term: 6}}})
	if err != nil {
		t.Fatal(err)
	}
	if s, term := next.Lookup(1); s == nil || s.ID != "b.kv" || term != 6 {
		t.Errorf("shard 1 is at %v, term %d", s, term)
	}
	if got := next.Servers(); len(got) != 1 || got[0].ID != "b.kv" {
		t.Errorf("servers: %v", got)
	}
}

// Shards of a named key space come and go with deltas; a key is the id of its shard.
func TestNamedMap(t *testing.T) {
	servers := []Server{{ID: "a.kv", DataAddress: "a:1"}}
	m, err := NewNamedMap("kv", Version{Counter: 1}, NewNames(nil), servers, nil)
	if err != nil {
		t.Fatal(err)
	}
	version := m.Version
	change := func(d Delta) {
		t.Helper()
		d.App, d.Base, d.Version = "kv", version, Version{Counter: version.Counter + 1}
		if m, err = m.Apply(d); err != nil {
			t.Fatal(err)
		}
		version = d.Version
	}
	find := func(id string) string {
		at, ok := m.OfString(id)
		if by, also := m.Of([]byte(id)); also != ok || by != at {
			t.Errorf("%s: by bytes %d %t, by string %d %t", id, by, also, at, ok)
		}
		if !ok {
			return "no shard"
		}
		if m.ID(at) != ID(id) {
			t.Errorf("%s is at %d, where %s is", id, at, m.ID(at))
		}
		return "at " + m.Address(at)
	}
	const far = pageShards + 7
	change(Delta{Names: []Named{{0, "users"}, {far, "orders"}}, Shards: []Entry{{Index: far, Primary: "a.kv", Term: 3}}})
	for id, want := range map[string]string{"users": "at ", "orders": "at a:1", "carts": "no shard"} {
		if got := find(id); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	before := m
	change(Delta{Names: []Named{{far, ""}, {1, "carts"}}, Shards: []Entry{{Index: far}, {Index: 1, Primary: "a.kv", Term: 4, Secondaries: []ServerID{"a.kv"}}}})
	for id, want := range map[string]string{"users": "at ", "orders": "no shard", "carts": "at a:1"} {
		if got := find(id); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	if at, ok := before.OfString("orders"); !ok || before.Address(at) != "a:1" {
		t.Error("the map before has changed")
	}
	whole, err := MapOfColumns("kv", version, m.Space, m.Servers(), m.Columns())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(whole.Entries(), m.Entries(), Entry.Equal) || whole.ID(1) != "carts" {
		t.Error("by columns it is another")
	}
	if _, err := m.Apply(Delta{App: "kv", Base: version, Version: Version{Counter: 99}, Names: []Named{{MaxShards, "x"}}}); err == nil {
		t.Error("an index beyond all taken")
	}
	hash, err := NewMap("kv", Version{Counter: 1}, HashSpace{Shards: 2}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hash.Apply(Delta{App: "kv", Base: hash.Version, Version: Version{Counter: 2}, Names: []Named{{0, "x"}}}); err == nil {
		t.Error("a name in a hash key space taken")
	}
}

func TestMapOfColumnsRefuses(t *testing.T) {
	servers := []Server{{ID: "a.kv"}}
	good := func() Columns {
		return Columns{Primaries: []uint32{1, 0}, Terms: []Term{5, 0}, Secondaries: [][]uint32{{0, 1}}}
	}
	if _, err := MapOfColumns("kv", Version{Counter: 1}, HashSpace{Shards: 2}, servers, good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Columns){
		"a primary too few":        func(c *Columns) { c.Primaries = c.Primaries[:1] },
		"a term too many":          func(c *Columns) { c.Terms = append(c.Terms, 0) },
		"an unknown server":        func(c *Columns) { c.Primaries[0] = 2 },
		"a primary without a term": func(c *Columns) { c.Terms[0] = 0 },
		"an unknown secondary":     func(c *Columns) { c.Secondaries[0][0] = 2 },
		"a secondary too few":      func(c *Columns) { c.Secondaries[0] = c.Secondaries[0][:1] },
	} {
		c := good()
		spoil(&c)
		if _, err := MapOfColumns("kv", Version{Counter: 1}, HashSpace{Shards: 2}, servers, c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Address says what Lookup says, after servers came, changed and went.
func TestMapAddressEqualsLookup(t *testing.T) {
	m, err := NewMap("kv", Version{Counter: 1}, HashSpace{Shards: pageShards + 2}, []Server{{ID: "a.kv", DataAddress: "a:1"}, {ID: "b.kv", DataAddress: "b:1"}},
		[]Entry{{Index: 0, Primary: "a.kv", Term: 1}, {Index: pageShards, Primary: "b.kv", Term: 1}})
	if err != nil {
		t.Fatal(err)
	}
	next, err := m.Apply(Delta{App: "kv", Base: m.Version, Version: Version{Counter: 2}, Removed: []ServerID{"a.kv"},
		Servers: []Server{{ID: "b.kv", DataAddress: "b:2"}, {ID: "c.kv", DataAddress: "c:1"}}, Shards: []Entry{{Index: 0, Primary: "c.kv", Term: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m       *Map
		index   Index
		address string
	}{{m, 0, "a:1"}, {m, pageShards, "b:1"}, {m, 1, ""}, {next, 0, "c:1"}, {next, pageShards, "b:2"}, {next, pageShards + 1, ""}} {
		got := c.m.Address(c.index)
		if s, _ := c.m.Lookup(c.index); got != c.address || (s == nil) != (got == "") || (s != nil && s.DataAddress != got) {
			t.Errorf("map %s, shard %d: address %q and server %v, want %q", c.m.Version, c.index, got, s, c.address)
		}
	}
}

func TestInstantTakesTheSaferClock(t *testing.T) {
	start := Instant{Boot: 100, Raw: 1000}
	now := Instant{Boot: 150, Raw: 1030} // the machine slept, or boot time was slewed
	if got := start.PermissionAge(now); got != 50 {
		t.Errorf("permission age %d, want the larger, 50", got)
	}
	if got := start.WaitAge(now); got != 30 {
		t.Errorf("wait age %d, want the smaller, 30", got)
	}
	end := start.Add(40)
	if end.Allows(now) {
		t.Error("a permission of 40 holds although one clock says 50")
	}
	if end.Passed(now) {
		t.Error("a wait of 40 is over although one clock says 30")
	}
	if got := end.Remaining(now); got != -10 {
		t.Errorf("remaining %d, want -10", got)
	}
}

// A wait of CoverDrift(d) on a clock that runs fast outlasts a permission of d on a clock that runs slow.
func TestCoverDrift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "d"))
		wait := CoverDrift(d)
		// Real time of the wait at +1 %, and of the permission at −1 %: wait/1.01 > d/0.99.
		if int64(wait)*990 <= int64(d)*1010 {
			t.Fatalf("CoverDrift(%s) = %s is too short", d, wait)
		}
		if wait > d+d/40+2 {
			t.Fatalf("CoverDrift(%s) = %s is needlessly long", d, wait)
		}
	})
	if got, want := CoverDrift(6*time.Second).Round(10*time.Millisecond), 6120*time.Millisecond; got != want {
		t.Errorf("CoverDrift(6s) = %s, want %s as PROTOCOL says", got, want)
	}
}

func TestTermsKeepTheirGeneration(t *testing.T) {
	if got := Term(5).Next(0); got != 6 {
		t.Errorf("next of 5 is %d", got)
	}
	restored := Term(5).Next(2)
	if restored != FirstTerm(2)+1 || restored <= Term(1<<generationShift) {
		t.Errorf("a raised generation must raise terms above every earlier one, got %d", restored)
	}
}

func TestOrders(t *testing.T) {
	if (Order{Term: 2, Move: 1}).Compare(Order{Term: 1, Move: 9}) <= 0 {
		t.Error("the term comes first")
	}
	if (Order{Term: 2, Move: 1}).Compare(Order{Term: 2, Move: 2}) >= 0 {
		t.Error("the move decides within a term")
	}
	if (Version{Epoch: Epoch{Index: 2}, Counter: 1}).Compare(Version{Epoch: Epoch{Index: 1}, Counter: 99}) <= 0 {
		t.Error("a newer epoch's map is newer whatever its counter")
	}
	if (Epoch{Generation: 1}).Compare(Epoch{Index: 99}) <= 0 {
		t.Error("the generation comes first")
	}
}
