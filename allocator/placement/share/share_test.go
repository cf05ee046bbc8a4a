package share_test

import (
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/share"
	"github.com/shardmanager/shardmanager/internal/load"
)

func TestWeights(t *testing.T) {
	but := func(not int) func(int) bool { return func(server int) bool { return server != not } }
	for name, c := range map[string]struct {
		capacity []int64
		not      int
		want     []int64
	}{
		"by capacity":                  {[]int64{10, 30, 0}, -1, []int64{10, 30, 0}},
		"alike where one is unlimited": {[]int64{10, load.Unlimited, 0}, -1, []int64{1, 1, 1}},
		"but not for one without part": {[]int64{10, load.Unlimited, 20}, 1, []int64{10, 0, 20}},
	} {
		if got := share.Weights(c.capacity, but(c.not)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, expected %v", name, got, c.want)
		}
	}
}

func TestDivide(t *testing.T) {
	if got := share.Divide([]int64{100}, []int64{1, 3, 0}, share.All); !slices.Equal(got, []int64{25, 75, 0}) {
		t.Errorf("%v", got)
	}
	groups := func(server int) int { return server % 2 }
	if got := share.Divide([]int64{100, 0}, []int64{1, 1, 1, 1}, groups); !slices.Equal(got, []int64{50, 1, 50, 1}) {
		t.Errorf("%v", got)
	}
	if got := share.Divide([]int64{load.Unlimited}, []int64{load.Unlimited, load.Unlimited}, share.All); got[0] <= 0 || got[0] != got[1] {
		t.Errorf("%v", got)
	}
}
