package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestPreferredRegions: a new preference moves primaries while the app runs; a region without servers is accepted, and named once.
func TestPreferredRegions(t *testing.T) {
	ka, kb := key("a", 7), key("b", 8)
	ka.Server.Locality.Region, kb.Server.Locality.Region = "us", "eu"
	rows := []ledger.Row{owned("a", 7, 3), owned("b", 8, 3)}
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(rows...), Registered: []ledger.Registration{ka, kb}})
	held := func(id shard.ID) []shard.Held {
		return []shard.Held{{Shard: id, Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}
	}
	b.attach(ledger.Hello{Server: ka.Server, Held: held("0")}, &ka)
	b.attach(ledger.Hello{Server: kb.Server, Held: held("1")}, &kb)
	b.pass(1500 * time.Millisecond)
	solve := func() (what []string) {
		for _, in := range b.out.Solve {
			b.step(ledger.PlanReady{Plan: placement.Solve(in)})
		}
		for _, d := range b.out.Trace {
			what = append(what, d.What)
		}
		return what
	}
	if what := solve(); b.core.Summary().OpenMoves != 0 {
		t.Fatalf("moves without a reason: %v", what)
	}
	for i, c := range []struct {
		prefer []string
		what   string // of the decisions that follow
		moves  int
	}{
		{[]string{"mars"}, "notes of placement", 0},
		{[]string{"mars", "eu"}, "move opened", 1},
	} {
		spec := appOf(rows...)[0].Spec
		spec.ResourceVersion, spec.PreferRegions = uint64(1+i), c.prefer
		b.step(ledger.Request{ID: uint64(1 + i), Wish: wish.UpdateApp{Spec: spec}})
		for _, w := range b.out.Writes {
			b.step(ledger.WriteDone{ID: w.ID, Outcome: ledger.Committed})
		}
		for range 60 {
			if len(b.out.Solve) > 0 {
				break
			}
			b.pass(100 * time.Millisecond)
		}
		if what := solve(); !slices.Contains(what, c.what) || b.core.Summary().OpenMoves != c.moves {
			t.Fatalf("%v preferred: %d open moves after %v, expected %q and %d", c.prefer, b.core.Summary().OpenMoves, what, c.what, c.moves)
		}
	}
}
