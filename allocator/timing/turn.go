package timing

import (
	"cmp"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Turn takes the next of all keys, `most` of them and fewer at the end of a round; `round` is what is left of it. When none is, the next round
// begins, with the keys that there are then, in their order. Keys of a round that has begun may be gone since.
func Turn[K cmp.Ordered, V any](round *[]K, all map[K]V, most int) []K {
	if len(*round) == 0 {
		*round = shard.SortedKeys(all)
	}
	now := (*round)[:min(most, len(*round))]
	*round = (*round)[len(now):]
	return now
}
