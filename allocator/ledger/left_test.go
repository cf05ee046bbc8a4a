package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestLeft: placement is told which servers shards left to even out loads, and not what they left for other reasons.
func TestLeft(t *testing.T) {
	rows := []ledger.Row{owned("a", 7, 3), owned("a", 7, 3), owned("a", 7, 3)}
	ka, kb := key("a", 7), key("b", 8)
	b := newBare(t, quick(), ledger.Loaded{Apps: appOf(rows...), Registered: []ledger.Registration{ka, kb}})
	var held []shard.Held
	for _, id := range []shard.ID{"0", "1", "2"} {
		held = append(held, shard.Held{Shard: id, Phase: shard.Serving, Term: 3, Max: shard.Order{Term: 3, Move: 3}})
	}
	b.attach(ledger.Hello{Server: info("a", 7), Held: held}, &ka)
	b.attach(ledger.Hello{Server: info("b", 8)}, &kb)
	asked := func() placement.Input {
		for range 100 {
			if b.pass(100 * time.Millisecond); len(b.out.Solve) > 0 {
				return b.out.Solve[0]
			}
		}
		t.Fatal("no plan was asked for")
		return placement.Input{}
	}
	for _, s := range asked().Shards {
		if len(s.Left) > 0 {
			t.Fatalf("nothing moved, and shard %s left %v", s.ID, s.Left)
		}
	}
	from, to := info("a", 7).ID, info("b", 8).ID
	b.step(ledger.PlanReady{Plan: placement.Plan{App: theApp, Moves: []placement.Move{
		{Shard: 0, Kind: placement.Migrate, From: from, To: to, Reason: placement.Balance},
		{Shard: 1, Kind: placement.Migrate, From: from, To: to, Reason: placement.Preference},
	}}})
	shards := asked().Shards
	if !slices.Equal(shards[0].Left, []shard.ServerID{from}) || len(shards[1].Left)+len(shards[2].Left) > 0 {
		t.Errorf("left %v, %v and %v", shards[0].Left, shards[1].Left, shards[2].Left)
	}
}
