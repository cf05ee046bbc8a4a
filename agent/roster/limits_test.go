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

// TestMaxMemberships: they leave the callbacks their places, and have a bound of their own; one that takes another's place is not counted.
func TestMaxMemberships(t *testing.T) {
	t.Parallel()
	w := live(t)
	step := func(ev roster.Event) { // without a look at every shard each time
		w.out.Reset()
		w.r.Step(w.now, ev, &w.out)
	}
	send := func(shardID int, kind roster.Kind, move shard.MoveID) roster.CallID {
		step(roster.Command{Stream: 1, ID: roster.CommandID{
			Epoch: shard.Epoch{Index: 7}, Incarnation: 0xa1, Shard: shard.ID(fmt.Sprintf("%04d", shardID)), Order: shard.Order{Term: 1, Move: move}, Kind: kind,
		}})
		if len(w.out.Calls) == 0 {
			return 0
		}
		return w.out.Calls[0].ID
	}
	for i := range roster.MaxMemberships + 1 {
		step(roster.CallDone{ID: send(i, roster.AddShard, 1), Outcome: roster.CallOK})
		step(roster.CallDone{ID: w.out.Calls[0].ID, Outcome: roster.CallOK})
		if asked := send(i, roster.UpdateMembership, 2) != 0; asked != (i < roster.MaxMemberships) {
			t.Fatalf("membership %d: asked %t", i+1, asked)
		}
	}
	if len(w.out.Messages) != 1 || w.out.Messages[0].Body.(roster.Result).Status != roster.Failed {
		t.Errorf("%+v, expected one too many to fail", w.out.Messages)
	}
	if send(0, roster.UpdateMembership, 3) == 0 || send(roster.MaxMemberships+1, roster.DropShard, 1) == 0 {
		t.Error("a newer membership, or another command, waits")
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
