package kvreplica

import (
	"maps"
	"slices"
	"testing"
)

// FuzzMark: what a primary hands over is refused, or taken and the same when it is handed on.
func FuzzMark(f *testing.F) {
	for _, m := range []mark{{}, {at: position{1, 2}}, {at: position{3, 4}, data: table{"k": {value: 5, applied: []applied{{RequestID{Client: 3, Number: 7}, 5}}}}}} {
		state, err := encodeMark(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		first, err := decodeMark(state)
		if err != nil {
			return
		}
		back, err := encodeMark(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := decodeMark(back)
		if err != nil || first.at != second.at || !slices.Equal(slices.Sorted(maps.Keys(first.data)), slices.Sorted(maps.Keys(second.data))) {
			t.Fatalf("%+v became %+v, %v", first, second, err)
		}
		if again, err := encodeMark(second); err != nil || len(again) != len(back) {
			t.Fatalf("%d bytes became %d, %v", len(back), len(again), err)
		}
	})
}
