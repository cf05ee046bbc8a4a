package virtual

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestQueueIsInOrder(t *testing.T) {
	var q Queue
	var got []string
	say := func(what string) func() { return func() { got = append(got, fmt.Sprintf("%s@%s", what, q.Now())) } }
	q.After(2*time.Second, say("c"))
	q.After(time.Second, func() {
		say("a")()
		q.After(0, say("b")) // at the same instant, after what was asked for before
	})
	q.After(time.Second, say("a'"))
	q.After(5*time.Second, say("never"))
	q.Run(3*time.Second, func() bool { return false })
	if want := []string{"a@1s", "a'@1s", "b@1s", "c@2s"}; !slices.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
	if q.Now() != 3*time.Second || q.Done() != 4 {
		t.Errorf("at %s after %d", q.Now(), q.Done())
	}
}

func TestQueueEndsEarly(t *testing.T) {
	var q Queue
	n := 0
	for range 5 {
		q.After(time.Second, func() { n++ })
	}
	if q.Run(time.Minute, func() bool { return n == 2 }); n != 2 || q.Now() != time.Second {
		t.Errorf("%d at %s", n, q.Now())
	}
}

func TestProcess(t *testing.T) {
	var q Queue
	p := Start(&q)
	ticks, done := 0, 0
	p.Every(time.Second, func() { ticks++ })
	q.Run(3*time.Second, never)
	p.Halt()
	p.Halt()
	p.Do(func() { done++ })
	q.Run(10*time.Second, never)
	if p.Continue(); ticks != 3 || done != 0 || p.Runs() {
		t.Errorf("stopped twice and let go once: %d ticks, %d done", ticks, done)
	}
	if p.Continue(); ticks != 4 || done != 1 {
		t.Errorf("goes on with %d ticks, expected one for all that it missed; %d done", ticks, done)
	}
	p.Kill()
	p.Do(func() { done++ })
	if q.Run(20*time.Second, never); ticks != 4 || done != 1 || p.Alive() {
		t.Errorf("dead, and %d ticks, %d done", ticks, done)
	}
	var none *Process
	if none.Alive() || none.Runs() {
		t.Error("none lives")
	}
	none.Do(func() { t.Error("none does something") })
}

func never() bool { return false }

// TestClock: clocks err by their rates, and the end of a permission by them is the true instant at which they pass it.
func TestClock(t *testing.T) {
	c := NewClock(time.Hour, time.Minute, Rates{Boot: 10_000, Raw: -10_000})
	if at := c.At(100 * time.Second); at != (shard.Instant{Boot: int64(time.Hour + 101*time.Second), Raw: int64(time.Minute + 99*time.Second)}) {
		t.Errorf("%v", at)
	}
	for _, now := range []time.Duration{0, 100 * time.Second, 1234567891 * time.Nanosecond} {
		end := c.At(now).Add(6 * time.Second)
		until := c.Until(now, end)
		if end.Allows(c.At(until)) || !end.Allows(c.At(until-time.Microsecond)) {
			t.Errorf("over at %s: %v there, %v a microsecond before", until, c.At(until), c.At(until-time.Microsecond))
		}
	}
	if until := c.Until(5*time.Second, c.At(time.Second)); until != 5*time.Second {
		t.Errorf("a permission of the past is over at %s", until)
	}
}

func TestClockChanges(t *testing.T) {
	c := NewClock(0, 0, Rates{})
	c.Slew(10*time.Second, Rates{Boot: 1000})
	c.Skip(20*time.Second, 5*time.Second)
	if at := c.At(30 * time.Second); at != (shard.Instant{Boot: int64(35*time.Second + 20*time.Millisecond), Raw: int64(30 * time.Second)}) {
		t.Errorf("%v", at)
	}
	c = NewClock(0, 0, Rates{})
	c.Sleep(10*time.Second, 17*time.Second)
	if at := c.At(20 * time.Second); at != (shard.Instant{Boot: int64(20 * time.Second), Raw: int64(13 * time.Second)}) {
		t.Errorf("after a sleep: %v", at)
	}
}
