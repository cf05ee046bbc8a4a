package clock

import (
	"testing"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Skewed clocks lie beside the true ones as far as they should, at any uptime, and do not run backwards.
func TestSkewed(t *testing.T) {
	for _, ppm := range []int64{0, 10_000, -10_000} {
		read := Skewed(ppm)
		before, got, after := Now(), read(), Now()
		for name, of := range map[string]func(shard.Instant) int64{
			"boot": func(i shard.Instant) int64 { return i.Boot }, "raw": func(i shard.Instant) int64 { return i.Raw },
		} {
			low, high := (of(before)/1_000_000)*(1_000_000+ppm), (of(after)/1_000_000+1)*(1_000_000+ppm)
			if of(got) < low || of(got) > high {
				t.Errorf("%d ppm: %s is %d, expected %d to %d", ppm, name, of(got), low, high)
			}
		}
		for range 100_000 { // some milliseconds
			next := read()
			if next.Raw < got.Raw || next.Boot < got.Boot {
				t.Fatalf("%d ppm: %v after %v", ppm, next, got)
			}
			got = next
		}
	}
}
