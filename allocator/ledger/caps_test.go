package ledger_test

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestCapsOfPlans: a plan says which caps on moves hold, policies' included, and nothing is opened above them, nor above the spec's.
func TestCapsOfPlans(t *testing.T) {
	for name, c := range map[string]struct{ moves, perServer, open int }{
		"not said":          {0, 0, 3},
		"of the app":        {2, 8, 2},
		"of a server":       {64, 1, 1},
		"looser than specs": {100, 100, 3},
	} {
		t.Run(name, func(t *testing.T) {
			rows := []ledger.Row{owned("a", 7, 3), owned("a", 7, 3), owned("a", 7, 3), owned("a", 7, 3)}
			ka, kb := key("a", 7), key("b", 8)
			apps := appOf(rows...)
			apps[0].Spec.MaxMoves = 3
			b := newBare(t, quick(), ledger.Loaded{Apps: apps, Registered: []ledger.Registration{ka, kb}})
			var held []shard.Held
			for _, id := range []shard.ID{"0", "1", "2", "3"} {
				held = append(held, shard.Held{Shard: id, Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}})
			}
			b.attach(ledger.Hello{Server: info("a", 7), Held: held}, &ka)
			b.attach(ledger.Hello{Server: info("b", 8)}, &kb)
			for range 100 {
				if b.pass(100 * time.Millisecond); len(b.out.Solve) > 0 {
					break
				}
			}
			plan := placement.Plan{App: theApp, MostMoves: c.moves, MostPerServer: c.perServer}
			for i := range rows {
				plan.Moves = append(plan.Moves, placement.Move{Shard: shard.Index(i), Kind: placement.Migrate, From: info("a", 7).ID, To: info("b", 8).ID, Reason: placement.Balance})
			}
			b.step(ledger.PlanReady{Plan: plan})
			if open := b.core.Summary().OpenMoves; open != c.open {
				t.Errorf("%d moves are open, expected %d", open, c.open)
			}
		})
	}
}
