// Package feed hands the events of the leader to readers outside: in order, from where each of them is, each at its own pace.
//
// Invariants: what is held for a reader is one batch of events, and there are ReadersMost readers at most; a reader that falls behind the log
// finds a gap; nobody writes slower because somebody reads slowly. A reader that keeps up is woken once in Pace at most, whatever happens.
//
// Called by allocator/api and allocator/sse, which write to the reader. It converts events to the wire's form, and knows no transport.
package feed

import (
	"context"
	"errors"
	"time"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/internal/clock"
)

const (
	// ReadersMost is how many may follow events at once; one more is refused.
	ReadersMost = 2_000
	// BatchMost is how many events are handed over at once.
	BatchMost = 256
	// Pace is how long events wait for others at most, once a reader has got some: to wake thousands of readers for each costs more than the
	// events do.
	Pace = 50 * time.Millisecond
	// aliveEvery is how often a reader without news is told that the leader lives.
	aliveEvery = 10 * time.Second
)

var (
	// ErrManyReaders refuses a reader.
	ErrManyReaders = errors.New("events: too many readers follow already: ask again later")
	// ErrEnded says that the leadership is over, and everything of it was handed over.
	ErrEnded = errors.New("events: the leadership is over")
)

// Feed is the log and those who read it. Make it with New.
type Feed struct {
	*events.Log
	readers chan struct{} // capacity ReadersMost
	alive   time.Duration
}

// New makes the feed of a log. Without news its readers are told that the leader lives as often as alive says; 0: every 10 s.
func New(log *events.Log, alive time.Duration) *Feed {
	if alive == 0 {
		alive = aliveEvery
	}
	return &Feed{Log: log, readers: make(chan struct{}, ReadersMost), alive: alive}
}

// AliveEvery is how often a reader without news is told that the leader lives.
func (f *Feed) AliveEvery() time.Duration { return f.alive }

// Enter counts a reader in, who calls leave at its end; ErrManyReaders: there is no room.
func (f *Feed) Enter() (leave func(), err error) {
	select {
	case f.readers <- struct{}{}:
		return func() { <-f.readers }, nil
	default:
		return nil, ErrManyReaders
	}
}

// Follow hands over the events after a position, with the position to go on from; first and whenever nothing happened for a while also none. It
// ends with the error of send, with that of ctx once what had happened until then was handed over, with ErrEnded, or with nil once everything was
// handed over if more is not wanted.
func (f *Feed) Follow(ctx context.Context, ended <-chan struct{}, at events.Position, more bool, send func([]events.Event, events.Position) error) error {
	alive := time.NewTicker(f.alive)
	defer alive.Stop()
	for quiet := false; ; {
		over := ctx.Err()
		list, news := f.Read(at, BatchMost)
		if len(list) > 0 {
			at = list[len(list)-1].Position
		}
		if !quiet || len(list) > 0 {
			if err := send(list, at); err != nil {
				return err
			}
		}
		switch quiet = true; {
		case over != nil:
			return over
		case len(list) == BatchMost, len(list) > 0 && !more:
			continue
		case len(list) > 0:
			clock.Pause(ctx, Pace)
			continue
		case !more:
			return nil
		}
		select {
		case <-news:
		case <-alive.C:
			quiet = false
		case <-ended:
			if rest, _ := f.Read(at, 1); len(rest) == 0 {
				return ErrEnded
			}
		case <-ctx.Done():
		}
	}
}
