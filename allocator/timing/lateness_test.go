package timing

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// The worst tick is remembered for one window at least, and forgotten after two.
func TestLateness(t *testing.T) {
	const tickEvery = 50 * time.Millisecond
	var l Lateness
	at := shard.Instant{Boot: 1e9, Raw: 1e9}
	tick := func(after time.Duration) {
		at = at.Add(after)
		l.Note(at, tickEvery)
	}
	for range 10 {
		tick(tickEvery)
	}
	if l.Most() != 0 {
		t.Errorf("on time, and %v late", l.Most())
	}
	tick(tickEvery + time.Second)
	forgotten := 0
	for waited := time.Duration(0); l.Most() == time.Second; waited += tickEvery {
		tick(tickEvery)
		if forgotten++; waited > 3*lateWindow {
			t.Fatal("never forgotten")
		}
	}
	if after := time.Duration(forgotten) * tickEvery; after < lateWindow || after > 2*lateWindow+tickEvery {
		t.Errorf("forgotten after %v", after)
	}
}
