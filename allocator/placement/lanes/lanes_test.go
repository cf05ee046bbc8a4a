package lanes_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/lanes"
)

// TestLanes compares with amounts one by one.
func TestLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := func(name string, most int) (list [4]uint64, word uint64) {
			for i := range list {
				list[i] = uint64(rapid.IntRange(0, most).Draw(t, name))
				word = lanes.Set(word, i, list[i])
			}
			return list, word
		}
		a, x := amounts("a", 2*lanes.Most+1)
		b, y := amounts("b", 2*lanes.Most+1)
		fits, short := true, uint64(0)
		for i := range a {
			fits = fits && b[i] <= a[i]
			if b[i] > a[i] {
				short = lanes.Set(short, i, b[i]-a[i])
			}
		}
		c, z := amounts("c", lanes.Most)
		if sum := c[0] + c[1] + c[2] + c[3]; lanes.Sum(z) != sum {
			t.Fatalf("sum of %v: %d, expected %d", c, lanes.Sum(z), sum)
		}
		if lanes.Fits(x, y) != fits || lanes.Short(y, x) != short {
			t.Fatalf("%v into %v: fits %v, short %x, expected %v and %x", b, a, lanes.Fits(x, y), lanes.Short(y, x), fits, short)
		}
	})
}
