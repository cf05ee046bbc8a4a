package timing

import (
	"reflect"
	"testing"
)

func TestTurn(t *testing.T) {
	all := map[int]bool{3: true, 1: true, 4: true, 5: true, 9: true}
	var round []int
	for _, want := range [][]int{{1, 3}, {4, 5}, {9}, {1, 3}, {4, 5}, {9}} {
		if got := Turn(&round, all, 2); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, expected %v", got, want)
		}
		all[2] = true // has its turn in the next round
		if len(want) == 1 {
			delete(all, 2)
		}
	}
	if got := Turn(&round, map[int]bool{}, 2); len(got) != 0 {
		t.Fatalf("got %v of nothing", got)
	}
}
