package transfer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// snapshotsMost is how many snapshots of one shard are known at once, one for each target; beyond it the oldest is dropped.
	snapshotsMost = 16
	// KeepSnapshot is how long a snapshot that was sent waits for the hand-over. What the application notes for its delta is let go of then,
	// and a hand-over that comes later is refused, so the move is aborted and begun anew.
	KeepSnapshot = 2 * time.Minute
)

// stage of a snapshot. It only grows.
type stage uint8

const (
	sending stage = iota + 1
	complete
	ended
)

// Snapshot is one attempt to give a shard's state to one target.
type Snapshot struct {
	name   Name
	ctx    context.Context // ends when it is dropped
	cancel context.CancelCauseFunc
	end    func()        // tells the application
	gone   chan struct{} // closed once end has returned

	line   line
	outbox *Outbox
	stage  stage
	expiry *time.Timer
}

// Attempt is its number.
func (s *Snapshot) Attempt() uint64 { return s.name.Attempt }

// Outbox knows the snapshots of one shard that are out, and the last attempt of each target. The zero value is ready.
type Outbox struct {
	mu   sync.Mutex
	list []*Snapshot // oldest first; one for each target and order; ended ones stay, so that their attempts are remembered
}

// Open begins a snapshot, after whatever the same target got before has ended. Send settles it. End is called once, when it is of no
// use any more, and never while Send runs.
func (o *Outbox) Open(ctx context.Context, name Name, end func()) (*Snapshot, error) {
	own, cancel := context.WithCancelCause(context.Background())
	s := &Snapshot{name: name, ctx: own, cancel: cancel, end: end, gone: make(chan struct{}), outbox: o, stage: sending}
	o.mu.Lock()
	for _, other := range o.list {
		if other.name.Target.Incarnation == name.Target.Incarnation && other.name.Attempt >= name.Attempt {
			o.mu.Unlock()
			return nil, fmt.Errorf("attempt %d of %s: %w: %d", name.Attempt, name.Target.Server, ErrOldAttempt, other.name.Attempt)
		}
	}
	before := o.take(func(other *Snapshot) bool { return other.name.Target.Incarnation == name.Target.Incarnation })
	if n := len(o.list) - snapshotsMost + 1; n > 0 {
		before = append(before, o.list[:n]...)
		o.list = slices.Delete(o.list, 0, n)
	}
	o.list = append(o.list, s)
	o.mu.Unlock()
	if err := dropAll(ctx, before); err != nil {
		s.settle(false)
		return nil, err
	}
	return s, nil
}

// take removes the snapshots that match. The caller holds mu.
func (o *Outbox) take(match func(*Snapshot) bool) []*Snapshot {
	var taken []*Snapshot
	o.list = slices.DeleteFunc(o.list, func(s *Snapshot) bool {
		if match(s) {
			taken = append(taken, s)
			return true
		}
		return false
	})
	return taken
}

// Base is the snapshot that a target holds under an order, for the last delta: nil if it was given none. The snapshot does not expire any
// more. An error says that it was given one that is of no use, so that there is nothing to hand over.
func (o *Outbox) Base(target shard.Peer, order shard.Order) (*Snapshot, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.list {
		if s.name.Target.Incarnation != target.Incarnation || s.name.Order != order {
			continue
		}
		if s.stage != complete {
			return nil, fmt.Errorf("attempt %d of %s: %w", s.name.Attempt, target.Server, ErrDropped)
		}
		s.expiry.Stop()
		return s, nil
	}
	return nil, nil
}

// Drop ends every snapshot that keep, if there is one, does not want, and returns once all of them have ended. Those that ended stay known by
// their attempts.
func (o *Outbox) Drop(ctx context.Context, keep func(target shard.Peer, order shard.Order) bool) error {
	o.mu.Lock()
	var list []*Snapshot
	for _, s := range o.list {
		if keep == nil || !keep(s.name.Target, s.name.Order) {
			list = append(list, s)
		}
	}
	o.mu.Unlock()
	return dropAll(ctx, list)
}

func dropAll(ctx context.Context, list []*Snapshot) error {
	for _, s := range list {
		s.drop()
	}
	for _, s := range list {
		select {
		case <-s.gone:
		case <-ctx.Done():
			return fmt.Errorf("the application still streams the state to %s: %w", s.name.Target.Server, context.Cause(ctx))
		}
	}
	return nil
}

// drop makes the snapshot useless: Send, if it runs, is cancelled and ends it when it returns.
func (s *Snapshot) drop() {
	s.cancel(ErrDropped)
	s.outbox.mu.Lock()
	was := s.stage
	if was == complete {
		s.stage = ended
		s.expiry.Stop()
	}
	s.outbox.mu.Unlock()
	if was == complete {
		s.end()
		close(s.gone)
	}
}

// settle says how the application's part of Send ended.
func (s *Snapshot) settle(sent bool) {
	s.outbox.mu.Lock()
	if sent && s.ctx.Err() == nil {
		s.stage = complete
		s.expiry = time.AfterFunc(KeepSnapshot, s.drop)
		s.outbox.mu.Unlock()
		return
	}
	s.stage = ended
	s.outbox.mu.Unlock()
	s.cancel(ErrDropped)
	s.end()
	close(s.gone)
}
