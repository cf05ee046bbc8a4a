package timing

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for n, expected := range map[int]time.Duration{
		0: 200 * time.Millisecond, 1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 5: 3200 * time.Millisecond, 6: 5 * time.Second, 1 << 40: 5 * time.Second,
	} {
		if got := Backoff(n); got != expected {
			t.Errorf("after %d failures %v, expected %v", n, got, expected)
		}
	}
}
