// Package cell holds a value that one goroutine sets and others wait on. The allocator's shell keeps in one who holds the lock. It knows nothing of
// what it holds.
package cell

import "sync"

// Cell is such a value.
type Cell[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{}
}

// New makes a cell with its first value.
func New[T any](value T) *Cell[T] { return &Cell[T]{value: value, changed: make(chan struct{})} }

// Get returns the value, and a channel that is closed when it is set again.
func (c *Cell[T]) Get() (T, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.changed
}

// Set gives it another value and wakes who waits.
func (c *Cell[T]) Set(value T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = value
	close(c.changed)
	c.changed = make(chan struct{})
}
