package observe

import (
	"context"
	"fmt"
	"sync"

	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Map follows the shard map as any router would, through the loss of allocators too, and counts moves: changes of a shard's primary
// from one server to another.
type Map struct {
	follower *mapfeed.Follower
	replicas int // that a shard should have

	mu      sync.Mutex
	moves   int
	last    []shard.ServerID // by shard: the last primary it had
	current *shard.Map
}

// NewMap makes a watcher of shards with so many replicas; it sees nothing before Run.
func NewMap(allocators []string, replicas int) (*Map, error) {
	w := &Map{replicas: replicas, last: make([]shard.ServerID, layout.Shards)}
	cfg := mapfeed.FollowerConfig{App: layout.App, Cluster: layout.Cluster, Addresses: allocators}
	follower, err := mapfeed.NewFollower(cfg, func(u mapfeed.Update) { w.take(u.Map) }, nil)
	w.follower = follower
	return w, err
}

// Run follows the map until ctx ends.
func (w *Map) Run(ctx context.Context) { _ = w.follower.Run(ctx) } // it ends with ctx only

func (w *Map) take(m *shard.Map) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = m
	for i := range min(len(w.last), int(m.Space.Shards)) {
		s, _ := m.Lookup(shard.Index(i))
		if s == nil {
			continue
		}
		if w.last[i] != "" && w.last[i] != s.ID {
			w.moves++
		}
		w.last[i] = s.ID
	}
}

// Current is the newest map; nil: there is none yet.
func (w *Map) Current() *shard.Map {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Counted is the number of moves so far, and the newest version of the map.
func (w *Map) Counted() (moves int, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return w.moves, "-"
	}
	return w.moves, w.current.Version.String()
}

// ShardsOf counts the shards of every server, and those of none.
func (w *Map) ShardsOf() (of map[string]int, unplaced int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of = map[string]int{}
	if w.current == nil {
		return of, layout.Shards
	}
	for i := range int(w.current.Space.Shards) {
		if s, _ := w.current.Lookup(shard.Index(i)); s != nil {
			of[string(s.ID)]++
		} else {
			unplaced++
		}
	}
	return of, unplaced
}

// Placed fails unless every shard has a primary and all its secondaries.
func (w *Map) Placed(context.Context) error {
	if _, unplaced := w.ShardsOf(); unplaced > 0 {
		return fmt.Errorf("%d of %d shards have no primary", unplaced, layout.Shards)
	}
	if missing := w.missing(); missing > 0 {
		return fmt.Errorf("%d secondaries are missing", missing)
	}
	return nil
}

// missing counts the secondaries that shards should have and do not.
func (w *Map) missing() (missing int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range shard.Index(w.current.Space.Shards) {
		for k := range w.replicas - 1 {
			if w.current.Secondary(i, k) == nil {
				missing++
			}
		}
	}
	return missing
}

// Left fails while a server has anything, or a shard has no primary.
func (w *Map) Left(server string) func(context.Context) error {
	return func(context.Context) error {
		of, unplaced := w.ShardsOf()
		if of[server] > 0 || unplaced > 0 {
			return fmt.Errorf("%s has %d shards, %d have no primary", server, of[server], unplaced)
		}
		if n := w.secondariesAt(server); n > 0 {
			return fmt.Errorf("%s is a secondary of %d shards", server, n)
		}
		return nil
	}
}

func (w *Map) secondariesAt(server string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range shard.Index(w.current.Space.Shards) {
		for k := 0; w.current.Secondary(i, k) != nil; k++ {
			if string(w.current.Secondary(i, k).ID) == server {
				n++
			}
		}
	}
	return n
}

// SecondaryOf is the first secondary of a shard; empty: it has none.
func (w *Map) SecondaryOf(index uint32) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.current.Secondary(shard.Index(index), 0); s != nil {
		return string(s.ID)
	}
	return ""
}

// ShardsAt lists the shards of a server, by index.
func (w *Map) ShardsAt(server string) []uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []uint32
	if w.current == nil {
		return nil
	}
	for i := range w.current.Space.Shards {
		if s, _ := w.current.Lookup(shard.Index(i)); s != nil && string(s.ID) == server {
			list = append(list, i)
		}
	}
	return list
}

// OwnerOf is the primary of a shard; empty: none.
func (w *Map) OwnerOf(index uint32) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return ""
	}
	if s, _ := w.current.Lookup(shard.Index(index)); s != nil {
		return string(s.ID)
	}
	return ""
}
