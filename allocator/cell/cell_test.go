package cell_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/cell"
)

// Whoever waits is woken by each new value, and finds that one.
func TestSetWakes(t *testing.T) {
	t.Parallel()
	c := cell.New(1)
	value, changed := c.Get()
	seen := make(chan int)
	go func() {
		<-changed
		next, _ := c.Get()
		seen <- next
	}()
	c.Set(2)
	if got := <-seen; value != 1 || got != 2 {
		t.Errorf("got %d and %d, want 1 and 2", value, got)
	}
	select {
	case <-changed:
	default:
		t.Error("the channel of the first value is open")
	}
	if _, changed := c.Get(); changed == nil {
		t.Error("nothing to wait on")
	}
}
