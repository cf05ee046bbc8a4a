package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// rows follows the assignment as it stands in the store: what is in it is durable.
type rows struct {
	mu      sync.Mutex
	placed  int            // shards that have a primary
	held    map[string]int // by server: rows that name it as primary
	open    int            // moves under way
	changed chan struct{}  // closed by the next change
}

// followRows watches until ctx ends.
func followRows(ctx context.Context, store coord.Store) *rows {
	r := &rows{changed: make(chan struct{})}
	go func() {
		prefix := "shardmanager/" + cluster + "/g/default/apps/" + app + "/assign/"
		if err := store.Watch(ctx, prefix, r.take); ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "scale: watch the assignment:", err)
		}
	}()
	return r
}

func (r *rows) take(entries []coord.Entry) {
	placed, open, held := 0, 0, map[string]int{}
	for _, e := range entries {
		chunk := new(pb.AssignmentChunk)
		if err := wire.Decode(e.Value, chunk); err != nil {
			fmt.Fprintln(os.Stderr, "scale: key", e.Key, err)
			return
		}
		open += len(chunk.GetOpen())
		for _, primary := range chunk.GetPrimaries() {
			if primary > 0 {
				placed++
				held[chunk.GetServers()[primary-1].GetId()]++
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.placed, r.open, r.held = placed, open, held
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits for a state that holds, and says when it was seen.
func (r *rows) until(ctx context.Context, what string, holds func(r *rows) bool) (time.Time, error) {
	for {
		r.mu.Lock()
		ok, changed := holds(r), r.changed
		placed, open := r.placed, r.open
		r.mu.Unlock()
		if ok {
			return time.Now(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s: %w: %d shards placed, %d moves open", what, ctx.Err(), placed, open)
		}
	}
}

// of is how many rows name a server as primary.
func (r *rows) of(server string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[server]
}
