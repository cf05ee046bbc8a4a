package allocator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
)

// callTimeout ends a call to the store that has no shorter time of its own.
const callTimeout = 3 * time.Second

// watchRetry is the pause before a watch that the store gave up is begun again.
const watchRetry = time.Second

// observedStore is a store that remembers whether it works, for honest health: reads and writes apart, because a full store still reads.
type observedStore struct {
	coord.Store

	mu     sync.Mutex
	reads  error // of the last read or renewal; nil: good
	writes error // of the last write; nil: good
}

// trouble says why the store cannot be used; empty: it can.
func (s *observedStore) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.reads, s.writes); err != nil {
		return err.Error()
	}
	return ""
}

func (s *observedStore) note(last *error, ctx context.Context, err error) {
	if conflict := (*coord.ConflictError)(nil); errors.As(err, &conflict) {
		err = nil // answered: it works
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return // given up by us
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*last = err
}

// Txn implements coord.Store.
func (s *observedStore) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	index, err := s.Store.Txn(ctx, ops)
	s.note(&s.writes, ctx, err)
	return index, err
}

// Get implements coord.Store.
func (s *observedStore) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	entry, found, err := s.Store.Get(ctx, key)
	s.note(&s.reads, ctx, err)
	return entry, found, err
}

// List implements coord.Store.
func (s *observedStore) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	entries, err := s.Store.List(ctx, prefix)
	s.note(&s.reads, ctx, err)
	return entries, err
}

// CreateSession implements coord.Store.
func (s *observedStore) CreateSession(ctx context.Context, spec coord.SessionSpec) (coord.SessionID, error) {
	id, err := s.Store.CreateSession(ctx, spec)
	s.note(&s.writes, ctx, err)
	return id, err
}

// RenewSession implements coord.Store.
func (s *observedStore) RenewSession(ctx context.Context, id coord.SessionID) (bool, error) {
	found, err := s.Store.RenewSession(ctx, id)
	s.note(&s.reads, ctx, err)
	return found, err
}

// watch follows a prefix until ctx ends, even if the store gives a watch up: without it, nobody would notice a free lock or a new server.
func (s *observedStore) watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
	for {
		err := s.Watch(ctx, prefix, fn)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.note(&s.reads, ctx, err)
		if !clock.Pause(ctx, watchRetry) {
			return ctx.Err()
		}
	}
}
