package kvserve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzState: a state that was handed over is refused, or taken and the same when it is handed on.
func FuzzState(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{10, 3, 10, 1, 'k'})
	f.Add([]byte{10, 0, 10, 4, 10, 1, 'k', 24})
	f.Fuzz(func(t *testing.T, state []byte) {
		first, err := decodeState(state)
		if err != nil {
			return
		}
		back, err := encodeState(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := decodeState(back)
		if err != nil || len(first) != len(second) || len(first) > 0 && !cmp.Equal(first, second) {
			t.Fatalf("%v became %v, %v", first, second, err)
		}
	})
}
