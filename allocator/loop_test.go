package allocator

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// A tick that takes long leaves as much time for letters as it took: with a ticker, a ledger that needs longer for a tick than there is between two
// took two letters a tick, and 100 000 shards under way needed minutes.
func TestTicksLeaveTimeForLetters(t *testing.T) {
	c := newTestCluster(t)
	a, err := New(fastConfig("a1", t.TempDir()), Deps{Store: c.store, Log: zerolog.Nop(), Listener: c.listener(), AdminListener: c.listener()})
	if err != nil {
		t.Fatal(err)
	}
	for _, took := range []time.Duration{0, tickEvery / 2, 3 * time.Second} {
		now := shard.Instant{Boot: int64(time.Hour), Raw: int64(time.Hour)}
		a.clock = func() shard.Instant {
			defer func() { now = now.Add(took) }()
			return now
		}
		if pause := newLoop(&tenure{a: a}).tick(); pause != max(tickEvery, took) {
			t.Errorf("the next tick comes %v after one that took %v", pause, took)
		}
	}
}
