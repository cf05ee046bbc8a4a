package allocator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/observed"
)

// callTimeout ends a call to the store that has no shorter time of its own.
const callTimeout = 3 * time.Second

// watchRetry is the pause before a watch that the store gave up is begun again.
const watchRetry = time.Second

// store is the coordination store, which remembers whether it works, for honest health: reads and writes apart, because a full store still reads.
type store struct {
	coord.Store

	mu     sync.Mutex
	reads  error // of the last read or renewal; nil: good
	writes error // of the last write; nil: good
}

func newStore(of coord.Store) *store {
	s := new(store)
	s.Store = observed.Store{Store: of, Saw: func(ctx context.Context, op observed.Operation, _ time.Duration, err error) {
		switch op {
		case observed.Txn, observed.CreateSession:
			s.note(&s.writes, ctx, err)
		case observed.Get, observed.List, observed.RenewSession:
			s.note(&s.reads, ctx, err)
		case observed.DestroySession: // nobody waits for it
		}
	}}
	return s
}

// trouble says why the store cannot be used; empty: it can.
func (s *store) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.reads, s.writes); err != nil {
		return err.Error()
	}
	return ""
}

func (s *store) note(last *error, ctx context.Context, err error) {
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

// watch follows a prefix until ctx ends, even if the store gives a watch up: without it, nobody would notice a free lock or a new server.
func (s *store) watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
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
