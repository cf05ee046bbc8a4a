package ledger_test

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/spec"
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

// TestCopiesUnderWayAreCharged: until a move is done, both its ends have a copy, whoever is primary by then, and placement charges both. Found by
// `shardmanager sim --seed 13`.
func TestCopiesUnderWayAreCharged(t *testing.T) {
	a, b := ledger.Owner{Server: info("a", 7).ID, Incarnation: 7}, ledger.Owner{Server: info("b", 8).ID, Incarnation: 8}
	at := func(owner ledger.Owner, phase ledger.MovePhase) ledger.Row {
		return ledger.Row{Term: 4, Move: 9, Primary: owner, PrimaryTerm: 3, Open: &ledger.OpenMove{Move: 4, Term: 4, From: a, To: b, Phase: phase}}
	}
	for name, row := range map[string]ledger.Row{"opened": at(a, ledger.Opened), "aborting": at(a, ledger.Aborting), "moved": at(b, ledger.Moved)} {
		t.Run(name, func(t *testing.T) {
			ka, kb := key("a", 7), key("b", 8)
			w := newBare(t, quick(), ledger.Loaded{Apps: appOf(row, ledger.Row{}), Registered: []ledger.Registration{ka, kb}})
			w.attach(ledger.Hello{Server: info("a", 7)}, &ka)
			w.attach(ledger.Hello{Server: info("b", 8)}, &kb)
			for range 100 {
				if w.pass(100 * time.Millisecond); len(w.out.Solve) > 0 {
					break
				}
			}
			charged := map[shard.ServerID]bool{}
			for _, in := range w.out.Solve {
				for _, r := range in.Shards[0].Replicas {
					for _, place := range []int{r.On, r.To} {
						if place >= 0 {
							charged[in.Servers[place].ID] = true
						}
					}
				}
			}
			if !charged[a.Server] || !charged[b.Server] {
				t.Errorf("charged are only %v", charged)
			}
		})
	}
}

// TestHeirCountsAsMove: a newcomer that is in sync and about to replace the primary is a move under way, for it hands over whatever the caps say.
// Found by `shardmanager sim --seed 4`.
func TestHeirCountsAsMove(t *testing.T) {
	a, b := ledger.Owner{Server: info("a", 7).ID, Incarnation: 7}, ledger.Owner{Server: info("b", 8).ID, Incarnation: 8}
	row := ledger.Row{Term: 3, Move: 5, Primary: a, PrimaryTerm: 3, MembersMove: 5,
		Secondaries: []ledger.Secondary{{Owner: b, Order: shard.Order{Term: 3, Move: 5}, State: ledger.InSync}}}
	for name, c := range map[string]struct {
		replaces ledger.Owner
		moves    int
	}{"an heir": {a, 1}, "a secondary": {ledger.Owner{}, 0}} {
		t.Run(name, func(t *testing.T) {
			row := row
			row.Secondaries = []ledger.Secondary{row.Secondaries[0]}
			row.Secondaries[0].Replaces = c.replaces
			apps := appOf(row)
			apps[0].Spec.Replication, apps[0].Spec.Replicas = spec.PrimarySecondary, 2
			ka, kb := key("a", 7), key("b", 8)
			w := newBare(t, quick(), ledger.Loaded{Apps: apps, Registered: []ledger.Registration{ka, kb}})
			w.attach(ledger.Hello{Server: info("a", 7), Replicates: true}, &ka)
			w.attach(ledger.Hello{Server: info("b", 8), Replicates: true}, &kb)
			for _, s := range w.core.Servers() {
				if s.Moves != c.moves {
					t.Errorf("server %s has %d moves under way, expected %d", s.Server.ID, s.Moves, c.moves)
				}
			}
		})
	}
}
