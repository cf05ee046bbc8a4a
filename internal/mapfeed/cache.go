package mapfeed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// saveInterval is the shortest time between two writes of a cache file; maps that came in between are not written at all.
const saveInterval = time.Second

// Cache keeps one app's last map in a file, so that a process can route before anybody of the control plane answers (promise 7). The file
// is a hint: what it says is replaced by the first map from a Follower that is newer.
type Cache struct {
	path    string
	cluster string
	app     shard.App

	mu      sync.Mutex
	pending *shard.Map
	written shard.Version
	wake    chan struct{} // 1: there is something to write
}

// OpenCache reads the file; the map is nil if there is none. An empty cluster is not checked. A damaged file is moved aside and reported by an error that wraps
// wire.ErrCorrupt: the cache works all the same. A file of another cluster or app is refused, with a nil Cache: two processes would take it
// from each other.
func OpenCache(path, cluster string, app shard.App) (*Cache, *shard.Map, error) {
	c := &Cache{path: path, cluster: cluster, app: app, wake: make(chan struct{}, 1)}
	m, err := c.load()
	switch {
	case err == nil:
		if m != nil {
			c.written = m.Version
		}
		return c, m, nil
	case errors.Is(err, wire.ErrCorrupt):
		aside, moveErr := wire.MoveAside(path)
		if moveErr != nil {
			return c, nil, errors.Join(err, moveErr)
		}
		return c, nil, fmt.Errorf("map cache: %w: moved to %s, starting without", err, aside)
	default:
		return nil, nil, err
	}
}

// load returns nil where there is no map to start from.
func (c *Cache) load() (*shard.Map, error) {
	record := new(pb.RouterCache)
	found, err := wire.ReadFile(c.path, record)
	if err != nil || !found {
		return nil, err
	}
	if c.cluster != "" && record.Cluster == "" {
		return nil, nil // written before a cluster was configured: whose map it is cannot be told
	}
	if c.cluster != "" && record.Cluster != c.cluster {
		return nil, fmt.Errorf("map cache: %s: belongs to cluster %q, not %q: give each cluster a directory of its own", c.path, record.Cluster, c.cluster)
	}
	if record.App != string(c.app) {
		return nil, fmt.Errorf("map cache: %s: belongs to app %q, not %q: give each app a file of its own", c.path, record.App, c.app)
	}
	snapshot := new(pb.ShardMapSnapshot)
	if err := proto.Unmarshal(record.Snapshot, snapshot); err != nil {
		return nil, fmt.Errorf("%s: snapshot: %w: %w", c.path, wire.ErrCorrupt, err)
	}
	m, err := wire.SnapshotFromProto(snapshot)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", c.path, wire.ErrCorrupt, err)
	}
	if m.App != c.app {
		return nil, fmt.Errorf("%s: snapshot of app %s: %w", c.path, m.App, wire.ErrCorrupt)
	}
	return m, nil
}

// Save hands a map over to be written soon by Run; a newer one takes its place. It never waits.
func (c *Cache) Save(m *shard.Map) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Version.Compare(c.written) <= 0 || (c.pending != nil && m.Version.Compare(c.pending.Version) <= 0) {
		return
	}
	c.pending = m
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// RunSaved runs a follower whose maps go to a cache, and the cache, until ctx ends. The cache ends last: what the follower still took in is
// written too. A nil cache is none; unsaved, if not nil, is told of failed writes.
func RunSaved(ctx context.Context, f *Follower, c *Cache, unsaved func(error)) error {
	if c == nil {
		return f.Run(ctx)
	}
	saving, followed := context.WithCancel(context.WithoutCancel(ctx))
	defer followed()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(saving, unsaved) }()
	err := f.Run(ctx)
	followed()
	if last := <-ended; last != nil && unsaved != nil && !errors.Is(last, context.Canceled) {
		unsaved(last)
	}
	return err
}

// Run writes what Save hands over, at most once a second, and the last map when ctx ends; it returns the error of that last write, else
// ctx's. trouble, if not nil, is told of failed writes before; the next map is tried again.
func (c *Cache) Run(ctx context.Context, trouble func(error)) error {
	for {
		select {
		case <-ctx.Done():
			if err := c.flush(); err != nil {
				return err
			}
			return ctx.Err()
		case <-c.wake:
		}
		if err := c.flush(); err != nil && trouble != nil {
			trouble(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(saveInterval):
		}
	}
}

func (c *Cache) flush() error {
	c.mu.Lock()
	m := c.pending
	c.pending = nil
	c.mu.Unlock()
	if m == nil {
		return nil
	}
	snapshot, err := proto.Marshal(wire.SnapshotToProto(m))
	if err != nil {
		return fmt.Errorf("map cache: %s: %w", c.path, err)
	}
	if err := wire.WriteFile(c.path, &pb.RouterCache{Cluster: c.cluster, App: string(c.app), Snapshot: snapshot}); err != nil {
		return fmt.Errorf("map cache: %w", err)
	}
	c.mu.Lock()
	c.written = m.Version
	c.mu.Unlock()
	return nil
}
