package transfer

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// waitingMost is how many streams wait for their turn; a further one is refused with ErrBusy, and its target asks again later.
	waitingMost = 64
	// waitPause is how often a stream that waits says that it does.
	waitPause = time.Second
	// Chunks are as large as the process may send in an eighth of a second, within these bounds, in bytes.
	chunkLeast = 4 << 10
	chunkMost  = 256 << 10
)

// Valve is what all streams that a process sends share: places, and a rate. Its turns go around: a stream waits for one chunk at a time,
// in the order of asking, so that streams that all have something to send get equal shares.
type Valve struct {
	rate   int64 // bytes in a second; 0: unlimited
	places chan struct{}

	mu      sync.Mutex
	waiting int
	free    time.Time // when what was let through before has gone at the rate
}

// NewValve makes one for so many streams at once and so many bytes in a second, 0: unlimited.
func NewValve(streams int, bytesPerSecond int64) *Valve {
	return &Valve{rate: bytesPerSecond, places: make(chan struct{}, streams)}
}

// chunk is how much goes through at once, in bytes.
func (v *Valve) chunk() int {
	if v.rate == 0 {
		return chunkMost
	}
	return int(min(max(v.rate/8, chunkLeast), chunkMost))
}

// enter waits for a place and calls ping meanwhile; leave gives it back.
func (v *Valve) enter(ctx context.Context, ping func() error) error {
	select {
	case v.places <- struct{}{}:
		return nil
	default:
	}
	v.mu.Lock()
	if v.waiting >= waitingMost {
		v.mu.Unlock()
		return fmt.Errorf("%w: %d", ErrBusy, waitingMost)
	}
	v.waiting++
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		v.waiting--
		v.mu.Unlock()
	}()
	tick := time.NewTicker(waitPause)
	defer tick.Stop()
	for {
		select {
		case v.places <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := ping(); err != nil {
				return err
			}
		}
	}
}

func (v *Valve) leave() { <-v.places }

// pass waits until n bytes may go and calls ping meanwhile.
func (v *Valve) pass(ctx context.Context, n int, ping func() error) error {
	if v.rate == 0 {
		return nil
	}
	v.mu.Lock()
	at := v.free
	if now := time.Now(); at.Before(now) {
		at = now
	}
	v.free = at.Add(time.Duration(int64(n)) * time.Second / time.Duration(v.rate))
	v.mu.Unlock()
	for {
		wait := time.Until(at)
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(min(wait, waitPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if wait > waitPause {
			if err := ping(); err != nil {
				return err
			}
		}
	}
}
