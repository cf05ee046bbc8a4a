package shard

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// Names reached by changes equal names built whole, and those before are untouched.
func TestNamesEqualRebuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, want := NewNames(nil), map[ID]Index{}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			before, frozen := n, maps.Clone(want)
			var changes []Named
			for range rapid.IntRange(1, 60).Draw(t, "in one") {
				at := Index(rapid.IntRange(0, 40).Draw(t, "index"))
				id := ID(fmt.Sprintf("s%d", rapid.IntRange(0, 1000).Draw(t, "id")))
				if _, taken := want[id]; taken || rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					id = ""
				}
				for old, i := range want {
					if i == at {
						delete(want, old)
					}
				}
				if id != "" {
					want[id] = at
				}
				changes = append(changes, Named{at, id})
			}
			n = n.With(changes)
			checkNames(t, n, want)
			checkNames(t, before, frozen)
		}
	})
}

func checkNames(t *rapid.T, n *Names, want map[ID]Index) {
	some := 0
	for i := range n.Len() {
		if id := n.ID(Index(i)); id != "" {
			some++
			if want[id] != Index(i) {
				t.Fatalf("%s at %d, want %d", id, i, want[id])
			}
		}
	}
	if some != len(want) {
		t.Fatalf("%d names, want %d", some, len(want))
	}
	for i := range 1001 {
		id := ID(fmt.Sprintf("s%d", i))
		at, ok := n.Index(id)
		wanted, there := want[id]
		if ok != there || ok && at != wanted {
			t.Fatalf("%s at %d (%t), want %d (%t)", id, at, ok, wanted, there)
		}
	}
	if n.ID(Index(n.Len())) != "" {
		t.Fatal("a name beyond the end")
	}
}
