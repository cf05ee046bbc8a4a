package allocator

import (
	"context"
	"sync"
)

// queue hands work from the loop, which never waits, to a worker.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	max   int
	wake  chan struct{}
}

func newQueue[T any](limit int) *queue[T] { return &queue[T]{max: limit, wake: make(chan struct{}, 1)} }

// put adds an item; it reports false, and adds nothing, if the queue is full.
func (q *queue[T]) put(item T) bool {
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

// take waits for items and returns all of them; none once ctx is over.
func (q *queue[T]) take(ctx context.Context) []T {
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
