// Package lane runs calls of which only the newest matters: one that is newer cancels the one under way, waits until that has returned,
// and takes its place.
//
// The SDK gives each shard a lane for UpdateMembership, which has to get past a call that waits for a secondary that died. A lane is open
// at one term at a time, and calls are numbered within it. It knows nothing of shards, and starts a goroutine for each call only.
package lane

import (
	"context"
	"errors"
	"sync"
)

// Why a call is refused or cancelled.
var (
	// ErrClosed: the lane is not open at the call's term, or not any more.
	ErrClosed = errors.New("it is not the time for it")
	// ErrReplaced: a newer call has taken its place.
	ErrReplaced = errors.New("a newer one has taken its place")
)

// Lane is safe for concurrent use. The zero value is closed.
type Lane struct {
	mu      sync.Mutex
	term    uint64 // 0: closed
	started bool   // calls may run
	newest  *Call  // of this term; nil: none yet
	last    *Call  // that was started last, at any term; nil: none
}

// Call is one call, from Propose on.
type Call struct {
	number uint64
	do     func(context.Context) error
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // once done
}

// Open opens the lane at a term: calls are taken from now on, and run after Start. What belongs to another term is cancelled. At the term at
// which it is open nothing changes. A term that was closed is not to be opened again.
func (l *Lane) Open(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != term {
		l.shut()
		l.term = term
	}
}

// Start lets the calls of the present term run.
func (l *Lane) Start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || l.started {
		return
	}
	l.started = true
	if l.newest != nil {
		l.run(l.newest)
	}
}

// Propose takes a call that is newer than all others of its term. A number that is known already means the same call again: it goes
// on, was done before, or is tried anew if it failed. The context of do ends when the call is cancelled, and not with its proposer.
func (l *Lane) Propose(term, number uint64, do func(context.Context) error) (*Call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != term || term == 0 {
		return nil, ErrClosed
	}
	if old := l.newest; old != nil {
		switch {
		case number < old.number:
			return nil, ErrReplaced
		case number == old.number && !old.failed():
			return old, nil
		}
		l.end(old, ErrReplaced)
	}
	c := &Call{number: number, do: do, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	l.newest = c
	if l.started {
		l.run(c)
	}
	return c, nil
}

// Newest is the number of the newest call of the term at which the lane is open; 0: none.
func (l *Lane) Newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest == nil {
		return 0
	}
	return l.newest.number
}

// Wait returns once the newest call has been done, whichever that is by then; its error is the newest one's.
func (l *Lane) Wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		c := l.newest
		l.mu.Unlock()
		if c == nil {
			return ErrClosed
		}
		err := c.Wait(ctx)
		if !errors.Is(err, ErrReplaced) || ctx.Err() != nil {
			return err
		}
	}
}

// Close cancels what is under way, takes nothing more, and returns nil once nothing runs. If that takes longer than ctx allows, the lane
// is closed all the same.
func (l *Lane) Close(ctx context.Context) error {
	l.mu.Lock()
	l.shut()
	last := l.last
	l.mu.Unlock()
	if last == nil {
		return nil
	}
	select {
	case <-last.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Wait returns once the call has been done. Its error is that of do, or says why it was cancelled.
func (c *Call) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Call) failed() bool {
	select {
	case <-c.done:
		return c.err != nil
	default:
		return false
	}
}

// run starts a call once the one before has returned. The caller holds mu.
func (l *Lane) run(c *Call) {
	before := l.last
	l.last = c
	go func() {
		defer close(c.done)
		if before != nil {
			<-before.done
		}
		if c.err = context.Cause(c.ctx); c.err != nil {
			return
		}
		if c.err = c.do(c.ctx); c.err != nil && c.ctx.Err() != nil {
			c.err = context.Cause(c.ctx)
		}
		c.cancel(nil)
	}()
}

// end cancels a call; one that was never started is over at once. The caller holds mu.
func (l *Lane) end(c *Call, why error) {
	c.cancel(why)
	if !l.started {
		c.err = why
		close(c.done)
	}
}

// shut closes the lane without waiting. The caller holds mu.
func (l *Lane) shut() {
	if l.newest != nil {
		l.end(l.newest, ErrClosed)
	}
	l.term, l.started, l.newest = 0, false, nil
}
