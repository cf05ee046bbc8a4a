package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
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
