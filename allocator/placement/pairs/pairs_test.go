package pairs_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/pairs"
)

func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 12
		table, plain := pairs.New(most), map[[2]int32]int32{}
		wide := rapid.SampledFrom([]int32{2, 5, 1 << 28}).Draw(t, "wide")
		var there [][2]int32
		for range rapid.IntRange(1, 200).Draw(t, "changes") {
			if len(there) == most || len(there) > 0 && rapid.Bool().Draw(t, "less") {
				i := rapid.IntRange(0, len(there)-1).Draw(t, "which")
				pair := there[i]
				there = append(there[:i], there[i+1:]...)
				if was := table.Add(pair[0], pair[1], -1); was != plain[pair] {
					t.Fatalf("%v was %d, not %d", pair, was, plain[pair])
				}
				plain[pair]--
			} else {
				pair := [2]int32{rapid.Int32Range(0, wide).Draw(t, "a"), rapid.Int32Range(0, wide).Draw(t, "b")}
				there = append(there, pair)
				if was := table.Add(pair[0], pair[1], 1); was != plain[pair] {
					t.Fatalf("%v was %d, not %d", pair, was, plain[pair])
				}
				plain[pair]++
			}
			for pair, n := range plain {
				if got := table.Of(pair[0], pair[1]); got != n {
					t.Fatalf("%v is %d, not %d", pair, got, n)
				}
			}
		}
	})
}
