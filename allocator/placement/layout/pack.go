package layout

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/lanes"
)

// Packs are loads and room in lanes, rounded down, for a first look at whether something fits: who does not fit there, does not fit. The scarcest
// metrics come first.
type Packs struct {
	Words int      // of one replica or server
	Loads []uint64 // [Replicas × 2 × Words]: its load, and what of that is charged where it started
	lane  []int32  // [Metrics]
	shift []uint8  // [Metrics]: amounts are divided by 1 << shift
}

func (m *Model) layPacks() {
	n := m.Metrics
	k := &m.Packs
	k.Words = (n + 3) / 4
	k.lane, k.shift = make([]int32, n), make([]uint8, n)
	most, room, load := make([]int64, n), make([]float64, n), make([]float64, n)
	for i, c := range m.Capacity {
		most[i%n] = max(most[i%n], c)
		room[i%n] += float64(c)
	}
	for i, l := range m.Load {
		most[i%n] = max(most[i%n], l)
		load[i%n] += float64(l)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
		k.shift[i] = uint8(max(0, bits.Len64(uint64(most[i]))-bits.Len64(lanes.Most)))
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(load[b]*room[a], load[a]*room[b]) })
	for at, i := range order {
		k.lane[i] = int32(at)
	}
	k.Loads = make([]uint64, m.Replicas*2*k.Words)
	for r := range m.Replicas {
		words := k.Loads[r*2*k.Words:]
		k.Pack(m.Load[r*n:][:n], words[:k.Words])
		if m.Soft != nil {
			k.Pack(m.Soft[r*n:][:n], words[k.Words:][:k.Words])
		}
	}
}

// Pack packs amounts that are at most the largest capacity or load; those below 0 count as 0.
func (k *Packs) Pack(amounts []int64, words []uint64) {
	clear(words)
	for i, lane := range k.lane {
		words[lane>>2] |= uint64(max(0, amounts[i])) >> k.shift[i] << (16 * (lane & 3))
	}
}
