package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func short(plan placement.Plan) string {
	var list []string
	reasons := []string{"?", "place", "failover", "drain", "balance", "repair", "prefer", "spread", "replicas"}
	kinds := []string{"?", "", "", "+", "-", "^"}
	name := func(id shard.ServerID) string {
		if id == "" {
			return "-"
		}
		return strings.TrimLeft(strings.TrimSuffix(string(id), ".kv"), "s0") + "_"
	}
	for _, m := range plan.Moves {
		list = append(list, fmt.Sprintf("%s %s%d:%s>%s", reasons[m.Reason], kinds[m.Kind], m.Shard, name(m.From), name(m.To)))
	}
	return strings.Join(list, " ")
}

func capacity(in placement.Input, each ...int64) placement.Input {
	for i, c := range each {
		in.Servers[i].Capacity = map[string]int64{placement.MetricShards: c}
	}
	return in
}

// Servers are written as numbers without zeros: `_` is s0000, `1_` is s0001.
func TestSolve(t *testing.T) {
	t.Parallel()
	with := func(in placement.Input, change func(*placement.Input)) placement.Input {
		change(&in)
		return in
	}
	for _, c := range []struct {
		name  string
		in    placement.Input
		moves string
		binds []string
	}{
		{name: "nothing to do", in: build(2, 0, 1)},
		{name: "no servers", in: build(0, -1), binds: []string{"accepts"}},
		{name: "no shards", in: build(3)},
		{name: "first placement is even", in: build(2, -1, -1, -1, -1), moves: "place 0:->_ place 1:->1_ place 2:->_ place 3:->1_"},
		{name: "urgent ones go first", in: with(build(1, -1, -1), func(in *placement.Input) { in.Shards[1].Urgent = true }),
			moves: "failover 1:->_ place 0:->_"},
		{name: "urgent ones get the last room", in: with(capacity(build(1, -1, -1), 1), func(in *placement.Input) { in.Shards[1].Urgent = true }),
			moves: "failover 1:->_", binds: []string{"capacity.shards"}},
		{name: "urgent ones are waited for", in: with(build(2, 0, 0, 0, 0, -1), func(in *placement.Input) { in.Shards[4].Urgent = true }), moves: "failover 4:->1_"},
		{name: "but not those that have no place", in: with(build(2, 0, 0, 0, 0, -1), func(in *placement.Input) {
			in.Shards[4].Urgent, in.Shards[4].Avoid = true, []shard.ServerID{"s0000.kv", "s0001.kv"}
		}), moves: "balance 0:_>1_ balance 1:_>1_", binds: []string{"avoid"}},
		{name: "caps do not hold placements back", in: with(build(1, -1, -1), func(in *placement.Input) { in.Policy.Moves, in.Policy.MovesPerServer = 0, 0 }),
			moves: "place 0:->_ place 1:->_"},
		{name: "quarantine waits", in: with(build(1, -1), func(in *placement.Input) { in.Shards[0].Backoff = true }), binds: []string{"quarantine"}},
		{name: "pinned and unplaced waits in silence", in: with(build(1, -1), func(in *placement.Input) { in.Shards[0].Pinned = true })},
		{name: "avoided server is left out", in: with(build(2, -1), func(in *placement.Input) { in.Shards[0].Avoid = []shard.ServerID{"s0000.kv"} }),
			moves: "place 0:->1_"},
		{name: "nothing but avoided servers", in: with(build(1, -1), func(in *placement.Input) { in.Shards[0].Avoid = []shard.ServerID{"s0000.kv"} }),
			binds: []string{"avoid"}},
		{name: "choosy ones go first", in: with(capacity(build(2, -1, -1), 1, 1), func(in *placement.Input) {
			in.Shards[1].Avoid = []shard.ServerID{"s0001.kv"}
		}), moves: "place 1:->_ place 0:->1_"},
		{name: "a drain respects the cap of a server", in: with(build(2, 0, 0, 0), func(in *placement.Input) {
			in.Servers[0].Accepts, in.Servers[0].Leaving, in.Policy.MovesPerServer = false, true, 2
		}), moves: "drain 0:_>1_ drain 1:_>1_"},
		{name: "a drain respects the cap of the app", in: with(build(2, 0, 0, 0), func(in *placement.Input) {
			in.Servers[0].Accepts, in.Servers[0].Leaving, in.Policy.Moves = false, true, 1
		}), moves: "drain 0:_>1_"},
		{name: "moves in progress count", in: with(build(2, 0, 0), func(in *placement.Input) {
			in.Servers[0].Accepts, in.Servers[0].Leaving, in.Policy.Moves = false, true, 1
			in.Shards[0].Replicas[0].To, in.Shards[0].Pinned = 1, true
		})},
		{name: "a drain without room says so", in: with(capacity(build(2, 0), 5, 0), func(in *placement.Input) {
			in.Servers[0].Accepts, in.Servers[0].Leaving = false, true
		}), binds: []string{"capacity.shards"}},
		{name: "a suspected server is neither left nor filled", in: with(build(2, 0, -1), func(in *placement.Input) { in.Servers[0].Accepts = false }),
			moves: "place 1:->1_"},
		{name: "a new server gets its share", in: build(2, 0, 0, 0, 0), moves: "balance 0:_>1_ balance 1:_>1_"},
		{name: "balance moves nothing back to where it was lately", in: with(build(2, 0, 0, 0, 0), func(in *placement.Input) {
			in.Shards[0].Left, in.Shards[1].Left = []shard.ServerID{"s0001.kv"}, []shard.ServerID{"s0001.kv", "s0000.kv"}
		}), moves: "balance 2:_>1_ balance 3:_>1_"},
		{name: "but from a server that has too much", in: with(capacity(build(2, 0, 0), 1, 2), func(in *placement.Input) {
			in.Shards[0].Left, in.Shards[1].Left = []shard.ServerID{"s0001.kv"}, []shard.ServerID{"s0001.kv"}
		}), moves: "repair 0:_>1_"},
		{name: "and a drain does", in: with(build(2, 0), func(in *placement.Input) {
			in.Servers[0].Accepts, in.Servers[0].Leaving, in.Shards[0].Left = false, true, []shard.ServerID{"s0001.kv"}
		}), moves: "drain 0:_>1_"},
		{name: "no swap where one cannot be even", in: build(2, 0, 0, 1)},
		{name: "room is shared by capacity", in: capacity(build(2, 0, 0, 0, 1), 9, 3)},
		{name: "both copies are charged", in: with(capacity(build(3, 0, 0, 1, -1), 4, 2, 1), func(in *placement.Input) {
			in.Shards[0].Replicas[0].To, in.Shards[0].Pinned = 1, true // server 1 is full with the one that comes
			in.Servers[0].Accepts, in.Servers[0].Leaving = false, true
		}), moves: "place 3:->2_", binds: []string{"capacity.shards"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			plan := placement.Solve(c.in)
			if got := short(plan); got != c.moves {
				t.Errorf("moves %q, expected %q", got, c.moves)
			}
			var binds []string
			for _, d := range plan.Decisions {
				if d.Binds != "" {
					binds = append(binds, d.Binds)
				}
				if d.Why == "" {
					t.Errorf("a decision without a why: %+v", d)
				}
			}
			if !slices.Equal(binds, c.binds) {
				t.Errorf("binds %v, expected %v", binds, c.binds)
			}
			if _, err := apply(c.in, plan); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBalanceMovesLargeLoadsAndExplains(t *testing.T) {
	t.Parallel()
	in := build(2, 0, 0, 0, 1)
	for i, cpu := range []int64{10, 40, 50, 10} {
		in.Shards[i].Load = map[string]int64{"cpu": cpu}
	}
	in.Policy.TolerancePercent = 20
	want := placement.Plan{
		App:   "kv",
		Moves: []placement.Move{{Shard: 1, Kind: placement.Migrate, From: "s0000.kv", To: "s0001.kv", Reason: placement.Balance}},
		Decisions: []placement.Decision{{
			Shard: 1, Kind: placement.Migrate, From: "s0000.kv", To: "s0001.kv", Reason: placement.Balance,
			Why: "cpu: s0000.kv from 182 % to 109 % of its fair share, s0001.kv from 18 % to 91 %",
		}},
		MostMoves: 64, MostPerServer: 8,
	}
	if diff := cmp.Diff(want, placement.Solve(in)); diff != "" {
		t.Errorf("%s", diff)
	}
}
