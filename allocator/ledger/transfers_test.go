package ledger_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestProgressOfAMove: what the target says it received shows in the list of moves, for the move that it belongs to, and goes again.
func TestProgressOfAMove(t *testing.T) {
	row := owned("a", 1, 1)
	to := ledger.Owner{Server: shard.MakeServerID("b", theApp), Incarnation: 2}
	row.Term, row.Move = 2, 2
	row.Open = &ledger.OpenMove{Move: 2, Term: 2, From: row.Primary, To: to, Phase: ledger.Opened, Reason: 1}
	a, b := key("a", 1), key("b", 2)
	w := newBare(t, ledger.Settings{}.Defaults(), ledger.Loaded{Apps: appOf(row), Registered: []ledger.Registration{a, b}})
	w.attach(ledger.Hello{Server: info("a", 1)}, &a)
	stream := w.attach(ledger.Hello{Server: info("b", 2)}, &b)
	for _, c := range []struct {
		transfers       []progress.Transfer
		received, total int64
	}{
		{[]progress.Transfer{{Shard: "0", Order: shard.Order{Term: 2, Move: 1}, Received: 3, Total: 4}}, 0, 0}, // of another move
		{[]progress.Transfer{{Shard: "0", Order: shard.Order{Term: 2, Move: 2}, Received: 5, Total: 9}}, 5, 9},
		{nil, 0, 0},
	} {
		w.step(ledger.Renew{Stream: stream, Sequence: 1, Transfers: c.transfers})
		open := w.core.Moves().Open
		if len(open) != 1 || open[0].Received != c.received || open[0].Total != c.total {
			t.Errorf("after %+v: %+v, want %d of %d bytes", c.transfers, open, c.received, c.total)
		}
	}
}
