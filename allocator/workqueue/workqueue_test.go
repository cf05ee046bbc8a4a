package workqueue_test

import (
	"context"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/workqueue"
)

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	q := workqueue.New[int](2)
	if !q.Put(1) || !q.Put(2) || q.Put(3) {
		t.Error("expected room for two")
	}
	if items := q.Take(t.Context()); len(items) != 2 || items[0] != 1 {
		t.Errorf("items %v", items)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if items := q.Take(ended); items != nil {
		t.Errorf("items %v after the end", items)
	}
}
