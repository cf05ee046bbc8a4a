package metrics

import (
	"testing"
	"time"
)

// A move is remembered for one to two windows.
func TestRecent(t *testing.T) {
	begin := time.Unix(1000, 0)
	tests := map[string]struct {
		moves []time.Duration // of one shard, by age; another one moves in between
		last  bool
	}{
		"the first":              {[]time.Duration{0}, false},
		"soon again":             {[]time.Duration{0, time.Second}, true},
		"within the window":      {[]time.Duration{0, window}, true},
		"after both windows":     {[]time.Duration{0, 2 * window}, false},
		"after others had moved": {[]time.Duration{0, window, 2*window + window/2}, true},
		"long after":             {[]time.Duration{0, 9 * window}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var r recent
			again := false
			for _, at := range test.moves {
				again = r.again(begin.Add(at), moved{"kv", "1"})
				r.again(begin.Add(at), moved{"kv", "2"})
			}
			if again != test.last {
				t.Errorf("again: %t, expected %t", again, test.last)
			}
		})
	}
}
