package promotions_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/promotions"
)

// TestEven: each promotion lowers a server and lifts another, within what they can take and may move, and afterwards nothing more can be done.
func TestEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(t, name) }
		servers := make([]promotions.Server, n("servers", 1, 5))
		for i := range servers {
			servers[i] = promotions.Server{Capacity: math.MaxInt64, Share: 3, Group: n("group", 0, 1), Moves: n("moves", 0, 9)}
			if n("limited", 0, 3) == 0 {
				servers[i].Capacity = int64(n("capacity", 0, 5))
			}
		}
		shards := make([]promotions.Shard, n("shards", 0, 12))
		for i := range shards {
			at := rapid.Permutation([]int{0, 1, 2, 3, 4}[:len(servers)]).Draw(t, "on")
			shards[i] = promotions.Shard{Primary: at[0], Heirs: at[1:n("heirs", 1, len(at))]}
			servers[at[0]].Has++
			servers[at[0]].Charged++
		}
		before, most := slices.Clone(servers), n("most", 0, 9)
		list := promotions.Even(servers, shards, promotions.Fair/10, most)
		if len(list) > most {
			t.Fatalf("%d promotions, at most %d", len(list), most)
		}
		seen := map[int]bool{}
		for _, p := range list {
			sh := shards[p.Shard]
			from, to := &before[sh.Primary], &before[sh.Heirs[p.Heir]]
			if seen[p.Shard] || from.Group != to.Group || to.Charged >= to.Capacity || from.Moves == 0 || to.Moves == 0 || to.Has+1 >= from.Has {
				t.Fatalf("%+v from %+v to %+v", p, from, to)
			}
			seen[p.Shard] = true
			from.Has, from.Moves, to.Has, to.Charged, to.Moves = from.Has-1, from.Moves-1, to.Has+1, to.Charged+1, to.Moves-1
		}
		if !slices.Equal(before, servers) {
			t.Fatalf("servers are %+v, not %+v", servers, before)
		}
		shards = slices.DeleteFunc(shards, func(promotions.Shard) bool { return true })
		if more := promotions.Even(servers, shards, 0, 9); len(more) > 0 {
			t.Fatalf("without shards: %+v", more)
		}
	})
}
