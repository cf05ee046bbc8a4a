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
		if pause := newLoop(&tenure{a: a, box: newMailbox()}).tick(); pause != max(tickEvery, took) {
			t.Errorf("the next tick comes %v after one that took %v", pause, took)
		}
	}
}

// The ledger never sees time go back (PROTOCOL R7), which the core checks with -tags invariants: the tick that also tells the time of day did so.
func TestTickThatReadsTheClock(t *testing.T) {
	c := newTestCluster(t)
	a, err := New(fastConfig("a1", t.TempDir()), Deps{Store: c.store, Log: zerolog.Nop(), Listener: c.listener(), AdminListener: c.listener()})
	if err != nil {
		t.Fatal(err)
	}
	now := shard.Instant{Boot: int64(time.Hour), Raw: int64(time.Hour)}
	a.clock = func() shard.Instant {
		now = now.Add(time.Microsecond)
		return now
	}
	l := newLoop(&tenure{a: a, box: newMailbox()})
	l.told = now.Add(-clockEvery)
	l.tick()
	if clockEvery <= l.told.WaitAge(now) {
		t.Error("the time of day was not read")
	}
}

// A loop is behind once there have been letters for a while, and no longer when there is none.
func TestLoopKnowsThatItIsBehind(t *testing.T) {
	now := shard.Instant{Boot: int64(time.Hour), Raw: int64(time.Hour)}
	l := newLoop(&tenure{a: new(Allocator), box: newMailbox()})
	check := func(when string, want bool) {
		t.Helper()
		if got := l.behind(now); got != want {
			t.Errorf("%s: behind is %t", when, got)
		}
	}
	l.t.box.letters <- letter{}
	check("at the beginning", false)
	now = now.Add(backlog)
	check("with a letter that came a moment ago", false)
	now = now.Add(1)
	check("with letters for longer", true)
	<-l.t.box.letters
	check("with an empty mailbox", false)
	l.t.box.letters <- letter{}
	check("with the next letter", false)
}
