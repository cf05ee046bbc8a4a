package summit_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/summit"
)

// naive is how many steps heights are from 0, by domain: the largest, as often as there are servers, and how many have it.
func naive(domain, heights []int32) (sum int64) {
	for d := range int32(len(domain)) {
		var list []int32
		for s, h := range heights {
			if domain[s] == d {
				list = append(list, h)
			}
		}
		if len(list) == 0 || slices.Max(list) == 0 {
			continue
		}
		top := slices.Max(list)
		sum += int64(top-1) * int64(len(list))
		for _, h := range list {
			if h == top {
				sum++
			}
		}
	}
	return sum
}

func TestHeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "servers")
		domain := rapid.SliceOfN(rapid.Int32Range(0, int32(min(2, n-1))), n, n).Draw(t, "domain")
		heights, all := make([]int32, n), make([]int32, n)
		for i := range all {
			all[i] = int32(i)
		}
		blank := summit.New(domain)
		h := blank.Clone()
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			servers := rapid.Permutation(all).Draw(t, "who")[:rapid.IntRange(1, min(n, summit.Together)).Draw(t, "together")]
			to := rapid.SliceOfN(rapid.Int32Range(0, 4), len(servers), len(servers)).Draw(t, "to")
			before := naive(domain, heights)
			asked, done := h.Change(servers, to), int64(0)
			for i, s := range servers {
				done += h.Set(s, to[i])
				heights[s] = to[i]
			}
			if want := naive(domain, heights) - before; asked != want || done != want {
				t.Fatalf("heights %v of domains %v: by %d as asked and %d as done, not %d", heights, domain, asked, done, want)
			}
			for s, height := range heights {
				top := height > 0
				for o, other := range heights {
					top = top && (domain[o] != domain[s] || other <= height)
				}
				if h.Of(int32(s)) != height || h.Tops(int32(s)) != top || blank.Of(int32(s)) != 0 {
					t.Fatalf("server %d is at %d, on top: %v; not %d, %v", s, h.Of(int32(s)), h.Tops(int32(s)), height, top)
				}
			}
		}
	})
}

func BenchmarkChange(b *testing.B) {
	const n = 1000
	h := summit.New(make([]int32, n))
	for s := range int32(n) {
		h.Set(s, 1+s%7)
	}
	b.ReportAllocs()
	for i := range b.N {
		servers, to := [2]int32{int32(i % n), int32((i + 1) % n)}, [2]int32{3, 4}
		h.Change(servers[:], to[:])
	}
}
