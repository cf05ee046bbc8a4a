package roster_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestTransfersAreReported: what the application says with its pull goes up with the next renewal, shows, and goes again.
func TestTransfersAreReported(t *testing.T) {
	t.Parallel()
	w := live(t)
	want := []progress.Transfer{{Shard: "7", Order: shard.Order{Term: 2, Move: 3}, Received: 5, Total: 9}}
	for _, list := range [][]progress.Transfer{want, nil} {
		w.step(roster.Pull{Request: 9, Incarnation: 0xa1, Transfers: list})
		if diff := cmp.Diff(list, w.r.View(w.now).Transfers); diff != "" {
			t.Errorf("view (-want +got):\n%s", diff)
		}
		var sent []roster.Renew
		for range 20 { // two seconds: at least one renewal
			w.now = w.now.Add(100 * time.Millisecond)
			w.out.Reset()
			w.r.Tick(w.now, &w.out)
			for _, m := range slices.Clone(w.out.Messages) {
				if renew, ok := m.Body.(roster.Renew); ok {
					sent = append(sent, renew)
					w.step(roster.Granted{Stream: 1, Sequence: renew.Sequence, Remaining: 6 * time.Second})
				}
			}
		}
		if len(sent) == 0 {
			t.Fatal("no renewal in two seconds")
		}
		if diff := cmp.Diff(list, sent[len(sent)-1].Transfers); diff != "" {
			t.Errorf("renewal (-want +got):\n%s", diff)
		}
	}
}

// TestNewerCommandEndsLoading: a target that loads, perhaps for minutes, is told to stop when a newer decision comes; then that is taken.
func TestNewerCommandEndsLoading(t *testing.T) {
	t.Parallel()
	w := live(t)
	command := func(kind roster.Kind, move shard.MoveID) roster.Command {
		return roster.Command{Stream: 1, ID: roster.CommandID{
			Epoch: shard.Epoch{Index: 7}, Incarnation: 0xa1, Shard: "7", Order: shard.Order{Term: 2, Move: move}, Kind: kind,
		}}
	}
	w.step(command(roster.PrepareAddShard, 2))
	if len(w.out.Calls) != 1 {
		t.Fatalf("%+v, want the call of PrepareAddShard", w.out.Calls)
	}
	loading := w.out.Calls[0].ID
	w.step(command(roster.PrepareAddShard, 2))
	if len(w.out.Cancels) != 0 {
		t.Error("the same command again ended it")
	}
	w.step(command(roster.DropShard, 3))
	if !slices.Equal(w.out.Cancels, []roster.CallID{loading}) {
		t.Fatalf("cancelled %v, want %d", w.out.Cancels, loading)
	}
	w.step(roster.CallDone{ID: loading, Outcome: roster.CallFailed, Err: "canceled"})
	if len(w.out.Calls) != 1 || w.out.Calls[0].Kind != roster.CallDropShard {
		t.Errorf("%+v, want the call of DropShard", w.out.Calls)
	}
}
