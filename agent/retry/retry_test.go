package retry_test

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/agent/retry"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Pauses double up to a limit, and differ between those that fail together.
func TestPace(t *testing.T) {
	t.Parallel()
	now := shard.Instant{Boot: 1e9, Raw: 1e9}
	var a, b retry.Pace
	same := 0
	for n := range 20 {
		a.Failed(now, 1)
		b.Failed(now, 2)
		middle := min(200*time.Millisecond<<min(n, 8), 3*time.Second)
		if d := a.At.Remaining(now); d < middle*4/5 || d > middle*6/5 {
			t.Errorf("failure %d: %s, expected %s or so", n, d, middle)
		}
		if a.At == b.At {
			same++
		}
	}
	if same > 2 {
		t.Errorf("two agents chose the same pause %d times of 20", same)
	}
}
