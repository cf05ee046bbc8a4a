package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// The session of a fenced server is destroyed also where the key was seen to be gone before the fence was known to be durable.
func TestFencedSessionIsDestroyedWhateverWasReadMeanwhile(t *testing.T) {
	l := ledger.New(ledger.Settings{}.Defaults())
	out, now := new(ledger.Effects), shard.Instant{Boot: 1, Raw: 1}
	owner := ledger.Owner{Server: "x.kv", Incarnation: 7}
	l.Step(now, ledger.Loaded{
		Epoch: shard.Epoch{Index: 1}, Acquired: now, Confirmed: now, Clean: true,
		Apps: []ledger.AppState{{
			Spec: ledger.Spec{Name: "kv", Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 1}}, MaxMoves: 1, MaxMovesServer: 1},
			Rows: []ledger.Row{{Term: 1, Move: 1, Primary: owner, PrimaryTerm: 1}},
		}},
		Registered: []ledger.Registration{{
			Server: shard.Server{ID: "x.kv", App: "kv", Agent: "x", Incarnation: 7}, Session: "s7", Create: 5,
		}},
	}, out)
	var fence *ledger.Write
	for range 1200 { // a minute
		for i, w := range out.Writes {
			if slices.ContainsFunc(w.Ops, func(op ledger.WriteOp) bool { _, ok := op.(ledger.PutFence); return ok }) {
				fence = &out.Writes[i]
			}
		}
		if fence != nil {
			break
		}
		out.Reset()
		now = now.Add(50 * time.Millisecond)
		l.Step(now, ledger.LockConfirmed{Asked: now}, out)
		l.Tick(now, out)
	}
	if fence == nil {
		t.Fatal("a server that never attached was not fenced")
	}
	id := fence.ID
	l.Step(now, ledger.RegistrationRead{Server: "x.kv", Asked: now}, out)
	out.Reset()
	l.Step(now, ledger.WriteDone{ID: id, Outcome: ledger.Committed}, out)
	if !slices.Equal(out.Sessions, []string{"s7"}) {
		t.Errorf("sessions to destroy: %q, expected s7", out.Sessions)
	}
}

// TestNobodyProbesTheUnknown: of an owner whose key was gone when the leader loaded, nobody knows the address. Nobody is asked to try it, for what
// fails at no address is no evidence (R15). Found by `shardmanager sim --seed 224`.
func TestNobodyProbesTheUnknown(t *testing.T) {
	kb := key("b", 8)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(owned("a", 7, 3)), Registered: []ledger.Registration{kb}})
	b.attach(ledger.Hello{Server: info("b", 8)}, &kb)
	suspected := false
	for range 100 {
		b.step(ledger.LockConfirmed{Asked: b.now})
		b.step(ledger.Renew{Stream: b.streams, Sequence: uint64(b.now.Boot), AskedNS: b.now.Boot})
		b.pass(100 * time.Millisecond)
		for _, m := range b.out.Messages {
			if p, ok := m.Body.(message.Probe); ok {
				t.Fatalf("asked to try %+v", p.Target)
			}
		}
		for _, d := range b.out.Trace {
			suspected = suspected || d.What == "lost" && d.Server == info("a", 7).ID
		}
	}
	if !suspected {
		t.Error("its owner was never lost: this test shows nothing")
	}
}
