package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// holding is what a server says of the shard 0.
func holding(phase shard.Phase, highest shard.Term) []shard.Held {
	h := shard.Held{Shard: "0", Phase: phase, Max: shard.Order{Term: highest, Move: 4}}
	if phase != shard.None {
		h.Term = highest
	}
	return []shard.Held{h}
}

// TestTheStoreWentBack is R14: whatever only a later leader can have said, of an epoch or of a term, ends all grants at once, and the leadership once it
// is durable. Before that, nothing else is stored.
func TestTheStoreWentBack(t *testing.T) {
	ka, kb := key("a", 7), key("b", 8)
	for name, hello := range map[string]ledger.Hello{
		"a higher generation": {Server: info("b", 8), HighestEpoch: shard.Epoch{Generation: 3}},
		"a later epoch":       {Server: info("b", 8), HighestEpoch: shard.Epoch{Index: 10}},
		"a term":              {Server: info("b", 8), Held: holding(shard.Serving, 4)},
		"a term remembered":   {Server: info("b", 8), Held: holding(shard.None, 4)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("a", 7, 3), ledger.Row{}), Registered: []ledger.Registration{ka, kb}})
			first := b.attach(ledger.Hello{Server: ka.Server, Held: []shard.Held{{Shard: "0", Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}}}}, &ka)
			b.step(ledger.Renew{Stream: first, Sequence: 1})
			b.expect(first, "Grant 1 2.5s")
			hello.Stream = first + 1
			b.step(hello)
			if hello.Held != nil {
				b.step(ledger.RegistrationRead{Server: hello.Server.ID, Asked: b.now, Found: true, Key: kb})
			}
			b.expect(hello.Stream, "Refuse duplicate=false retry=true")
			for range 3 { // a store that is full for a while changes nothing
				if len(b.out.Writes) != 1 || len(b.out.Writes[0].Ops) != 1 {
					t.Fatalf("writes %+v", b.out.Writes)
				}
				heard, ok := b.out.Writes[0].Ops[0].(ledger.PutHeard)
				if !ok || heard.Generation != hello.HighestEpoch.Generation || heard.Why == "" {
					t.Fatalf("stores %+v", b.out.Writes[0].Ops[0])
				}
				id := b.out.Writes[0].ID
				b.step(ledger.Renew{Stream: first, Sequence: 2})
				b.expect(first, "Grant 2 0s")
				b.step(ledger.WriteDone{ID: id, Outcome: ledger.NotCommitted, Err: "full"})
				for range 400 {
					if b.pass(100 * time.Millisecond); len(b.out.Writes) > 0 {
						break
					}
				}
			}
			b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Committed})
			if b.out.Stop == nil || !b.out.Stop.Clean {
				t.Fatalf("stop %+v", b.out.Stop)
			}
		})
	}
}

// TestADeposedLeaderIsNoStoreThatWentBack: who really follows a later leader makes an earlier one step down, and nothing is stored.
func TestADeposedLeaderIsNoStoreThatWentBack(t *testing.T) {
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(ledger.Row{})})
	b.step(ledger.Hello{Stream: 1, Server: info("a", 7), HighestEpoch: shard.Epoch{Index: 10}})
	b.step(ledger.WriteDone{ID: b.out.Writes[0].ID, Outcome: ledger.Superseded, Err: "the lock is lost"})
	if b.out.Stop == nil || b.out.Stop.Clean {
		t.Fatalf("stop %+v", b.out.Stop)
	}
}

// TestAGenerationThatCannotBe is no word of a later leader: nothing is stored of it, which no restore could get above.
func TestAGenerationThatCannotBe(t *testing.T) {
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(ledger.Row{})})
	b.step(ledger.Hello{Stream: 1, Server: info("a", 7), HighestEpoch: shard.Epoch{Generation: shard.MostGeneration + 1}})
	b.expect(1, "Refuse duplicate=false retry=false")
	if len(b.out.Writes) > 0 || b.out.Stop != nil {
		t.Errorf("writes %+v, stop %+v", b.out.Writes, b.out.Stop)
	}
}

// TestTermsThatAreNotFromTheFuture: of an app that was deleted and created again, whose terms this leader's epoch covers, and of generations before this one.
func TestTermsThatAreNotFromTheFuture(t *testing.T) {
	k := key("a", 7)
	for name, c := range map[string]struct {
		generation uint64
		row        ledger.Row
		seen       shard.Term
	}{
		"deleted and created again": {0, ledger.Row{}, 9},
		"an earlier generation":     {1, ledger.Row{Term: 3, Move: 3}, 700},
		"the last of them":          {2, ledger.Row{Term: 3, Move: 3}, shard.FirstTerm(2) - 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBare(t, quick(), ledger.Loaded{Epoch: shard.Epoch{Generation: c.generation}, Apps: appOf(c.row), Registered: []ledger.Registration{k}})
			b.expect(b.attach(ledger.Hello{Server: k.Server, Held: holding(shard.None, c.seen)}, &k), "Welcome")
			granted := func(ev ledger.Event) shard.Term {
				if ev == nil {
					b.pass(100 * time.Millisecond)
				} else {
					b.step(ev)
				}
				for _, w := range b.out.Writes {
					for _, op := range w.Ops {
						if chunk, ok := op.(ledger.PutChunk); ok {
							return chunk.Rows[0].Term
						}
					}
				}
				return 0
			}
			for range 400 {
				got := shard.Term(0)
				for _, in := range b.out.Solve {
					got = granted(ledger.PlanReady{Plan: placement.Solve(in)})
				}
				if got == 0 {
					got = granted(nil)
				}
				if len(b.out.Solve) > 0 {
					continue
				}
				got = max(got, granted(ledger.LockConfirmed{Asked: b.now}), granted(ledger.Renew{Stream: b.streams, Sequence: uint64(b.now.Boot), AskedNS: b.now.Boot}))
				if got == 0 {
					continue
				}
				if got <= c.seen || got.Generation() != c.generation {
					t.Fatalf("granted at %d, which is generation %d; %d was seen", got, got.Generation(), c.seen)
				}
				return
			}
			t.Fatal("never granted")
		})
	}
}

// TestRowsAnew: whatever a row says, in a new generation nobody has the shard, and what is decided next comes after all that was ever decided.
func TestRowsAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := rapid.Uint64Range(0, 9).Draw(t, "old generation")
		raised := old + rapid.Uint64Range(1, 9).Draw(t, "raised by")
		term := shard.FirstTerm(old) + shard.Term(rapid.Uint64Range(0, 1<<40-1).Draw(t, "term"))
		owner := ledger.Owner{Server: "a.kv", Incarnation: 7}
		row := ledger.Row{
			ID: shard.ID(rapid.SampledFrom([]string{"", "s"}).Draw(t, "id")), Deleting: rapid.Bool().Draw(t, "deleting"), Term: term, Move: 9,
			Primary: owner, PrimaryTerm: term, MembersMove: 3, Secondaries: []ledger.Secondary{{Owner: owner, State: ledger.InSync}},
			Open: &ledger.OpenMove{Move: 9, Term: term, From: owner, To: owner, Phase: ledger.Opened},
		}
		anew := row.Anew(raised)
		if diff := cmp.Diff(ledger.Row{ID: row.ID, Deleting: row.Deleting, Term: anew.Term, Move: row.Move}, anew); diff != "" {
			t.Fatal(diff)
		}
		next := shard.Order{Term: anew.Term.Next(raised), Move: anew.Move + 1}
		if anew.Term.Generation() != raised || next.Compare(shard.Order{Term: term, Move: row.Move}) <= 0 || next.Term <= shard.FirstTerm(raised) {
			t.Fatalf("term %d becomes %d, next is %s", term, anew.Term, next)
		}
	})
}
