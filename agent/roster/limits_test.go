package roster_test

import (
	"fmt"
	"testing"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestMaxRunning: so many callbacks run at once; the next shard waits for a place, and gets the first one.
func TestMaxRunning(t *testing.T) {
	t.Parallel()
	w := live(t)
	var calls []roster.Call
	for i := range roster.MaxRunning + 1 {
		w.step(roster.Command{Stream: 1, ID: roster.CommandID{
			Epoch: shard.Epoch{Index: 7}, Incarnation: 0xa1, Shard: shard.ID(fmt.Sprintf("%03d", i)), Order: shard.Order{Term: 1, Move: 1}, Kind: roster.DropShard,
		}})
		calls = append(calls, w.out.Calls...)
	}
	if len(calls) != roster.MaxRunning {
		t.Fatalf("%d calls at once, expected %d", len(calls), roster.MaxRunning)
	}
	w.step(roster.CallDone{ID: calls[7].ID, Outcome: roster.CallOK})
	if len(w.out.Calls) != 1 || w.out.Calls[0].Shard != "256" {
		t.Fatalf("after one was done: %+v, expected the call of shard 256", w.out.Calls)
	}
}

// TestMaxWaiters: one request too many answers the oldest.
func TestMaxWaiters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range roster.MaxWaiters + 1 {
		if len(w.out.Replies) != 0 {
			t.Fatalf("answered after %d: %+v", i, w.out.Replies)
		}
		w.play("register pid=1 fresh=a1")
	}
	if len(w.out.Replies) != 1 || w.out.Replies[0].Request != 1 || w.out.Replies[0].Refusal == 0 {
		t.Fatalf("%+v, expected request 1 refused", w.out.Replies)
	}
}
