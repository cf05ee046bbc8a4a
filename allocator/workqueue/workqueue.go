// Package workqueue hands work from a loop that never waits to a worker that may. It is bounded, and knows nothing of the work. The allocator has one
// for each kind of effect that takes time.
package workqueue

import (
	"context"
	"sync"
)

// Queue is safe for concurrent use by those who put and one who takes.
type Queue[T any] struct {
	mu    sync.Mutex
	items []T
	max   int
	wake  chan struct{}
}

// New makes a queue of at most so many items.
func New[T any](limit int) *Queue[T] { return &Queue[T]{max: limit, wake: make(chan struct{}, 1)} }

// Put adds an item; it reports false, and adds nothing, if the queue is full.
func (q *Queue[T]) Put(item T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= q.max {
		return false
	}
	q.items = append(q.items, item)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// Take waits for items and returns all of them; none once ctx is over.
func (q *Queue[T]) Take(ctx context.Context) []T {
	for ctx.Err() == nil {
		q.mu.Lock()
		items := q.items
		q.items = nil
		q.mu.Unlock()
		if len(items) > 0 {
			return items
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
	return nil
}
