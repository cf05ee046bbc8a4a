package shard_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// FuzzHashSpace: every key has a shard, and an id is one shard's or none's.
func FuzzHashSpace(f *testing.F) {
	for _, seed := range []struct {
		shards  uint32
		key, id string
	}{{1, "", "0"}, {96, "key", "07"}, {10, "\xff", "9"}, {100, "a", "100"}, {shard.MaxShards, "b", "0000001"}, {11, "c", "+1"}, {1000, "d", "٠٠٠"}} {
		f.Add(seed.shards, []byte(seed.key), seed.id)
	}
	f.Fuzz(func(t *testing.T, shards uint32, key []byte, id string) {
		s := shard.HashSpace{Shards: shards%shard.MaxShards + 1}
		at := s.Of(key)
		if at >= shard.Index(s.Shards) || at != s.OfString(string(key)) {
			t.Fatalf("key %q is in shard %d and %d of %d", key, at, s.OfString(string(key)), s.Shards)
		}
		if back, ok := s.Index(s.ID(at)); !ok || back != at || !shard.ValidName(string(s.ID(at))) {
			t.Fatalf("shard %d has the id %q, which is that of %d (%t)", at, s.ID(at), back, ok)
		}
		if at, ok := s.Index(shard.ID(id)); ok && (s.ID(at) != shard.ID(id) || at >= shard.Index(s.Shards)) {
			t.Fatalf("%q is shard %d, whose id is %q", id, at, s.ID(at))
		}
	})
}

// FuzzServerID: the app of an id is what it was made of.
func FuzzServerID(f *testing.F) {
	f.Add("a", "kv")
	f.Add("a.b", "kv")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, agent, app string) {
		id := shard.MakeServerID(agent, shard.App(app))
		if got := id.App(); shard.ValidName(app) && !containsDot(app) && got != shard.App(app) {
			t.Fatalf("%q is a server of %q, not %q", id, got, app)
		}
		_ = shard.ServerID(agent).App()
	})
}

func containsDot(text string) bool {
	for _, c := range text {
		if c == '.' {
			return true
		}
	}
	return false
}

// FuzzNames plays changes to names, two bytes each, on the real thing and on a list, and compares.
func FuzzNames(f *testing.F) {
	f.Add([]byte{0, 1, 1, 2, 0, 3, 1, 0}, byte(1))
	f.Add([]byte{5, 1, 0, 1, 5, 0, 0, 2}, byte(3))
	f.Fuzz(func(t *testing.T, input []byte, batch byte) {
		names, model := shard.NewNames(nil), []shard.ID{}
		var changes []shard.Named
		for i := 0; i+1 < len(input); i += 2 {
			at, id := int(input[i]), shard.ID("")
			if input[i+1] > 0 {
				id = shard.ID(string(rune('a' + input[i+1]%64)))
			}
			for len(model) <= at {
				model = append(model, "")
			}
			if id != "" && has(model, id, at) {
				continue // an id is in one place
			}
			model[at] = id
			changes = append(changes, shard.Named{Index: shard.Index(at), ID: id})
			if len(changes) > int(batch%8) {
				names, changes = names.With(changes), nil
			}
		}
		names = names.With(changes)
		if names.Len() > len(model) {
			t.Fatalf("%d names, %d expected", names.Len(), len(model))
		}
		seen := map[shard.ID]bool{}
		for i, id := range model {
			if got := names.ID(shard.Index(i)); got != id {
				t.Fatalf("index %d has %q, not %q", i, got, id)
			}
			if at, ok := names.Index(id); id != "" && (!ok || int(at) != i) {
				t.Fatalf("%q is at %d (%t), not %d", id, at, ok, i)
			}
			seen[id] = true
		}
		for b := range 64 {
			if id := shard.ID(string(rune('a' + b))); !seen[id] {
				if at, ok := names.Index(id); ok {
					t.Fatalf("%q is at %d, and nowhere", id, at)
				}
			}
		}
	})
}

func has(model []shard.ID, id shard.ID, but int) bool {
	for i, other := range model {
		if other == id && i != but {
			return true
		}
	}
	return false
}
