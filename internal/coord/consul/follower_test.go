package consul

import (
	"hash/maphash"
	"testing"

	"github.com/shardmanager/shardmanager/internal/coord"
)

func state(value string, at coord.Index) []coord.Entry {
	return []coord.Entry{{Key: "k", Value: []byte(value), Create: 5, Modify: at}}
}

// Each step is an answer, whether it is news, and the index to ask for next.
func TestFollowerFollowsIndexes(t *testing.T) {
	type step struct {
		why     string
		entries []coord.Entry
		index   uint64
		news    bool
		next    uint64
	}
	for name, steps := range map[string][]step{
		"an empty prefix is a state": {
			{"the first answer, of nothing", nil, 7, true, 7},
			{"keys elsewhere", nil, 9, false, 9},
			{"a first key", state("1", 10), 10, true, 10},
			{"deleted", nil, 12, true, 12},
		},
		"a wait that ended is no news": {
			{"first", state("1", 10), 10, true, 10},
			{"waited", state("1", 10), 10, false, 10},
			{"changed", state("2", 11), 11, true, 11},
		},
		"an index that goes backwards starts over": {
			{"first", state("1", 10), 10, true, 10},
			{"changed", state("2", 20), 20, true, 20},
			{"restored from a snapshot", state("1", 10), 10, true, 0},
			{"asked again", state("1", 10), 10, false, 10},
		},
		"the same index of another history is news": {
			{"first", state("1", 10), 20, true, 20},
			{"restored", state("other", 10), 15, true, 0},
			{"asked again", state("other", 10), 15, false, 15},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := follower{seed: maphash.MakeSeed()}
			for _, s := range steps {
				if news := f.take(s.entries, s.index); news != s.news || f.index != s.next {
					t.Fatalf("%s: news %t, next %d: want %t, %d", s.why, news, f.index, s.news, s.next)
				}
			}
		})
	}
}

func TestHashCoversEverything(t *testing.T) {
	f := follower{seed: maphash.MakeSeed()}
	base := coord.Entry{Key: "k", Value: []byte("v"), Create: 1, Modify: 2, Session: "s"}
	seen := map[uint64]string{f.hash(nil): "nothing"}
	note := func(what string, entries ...coord.Entry) {
		h := f.hash(entries)
		if other, ok := seen[h]; ok {
			t.Errorf("%s has the hash of %s", what, other)
		}
		seen[h] = what
	}
	note("base", base)
	note("twice", base, base)
	for what, change := range map[string]func(*coord.Entry){
		"key":         func(e *coord.Entry) { e.Key = "l" },
		"value":       func(e *coord.Entry) { e.Value = []byte("w") },
		"empty value": func(e *coord.Entry) { e.Value = nil },
		"create":      func(e *coord.Entry) { e.Create = 2 },
		"modify":      func(e *coord.Entry) { e.Modify = 3 },
		"session":     func(e *coord.Entry) { e.Session = "" },
		"boundary":    func(e *coord.Entry) { e.Key, e.Value = "kv", nil },
	} {
		changed := base
		change(&changed)
		note(what, changed)
	}
}
