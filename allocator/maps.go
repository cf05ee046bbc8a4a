package allocator

import (
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// maps is the hub and the apps it has maps of: its own ledger's, or those followed from the leader.
type maps struct {
	hub *mapfeed.Hub

	mu   sync.Mutex
	apps map[shard.App]struct{}
}

func newMaps(hub *mapfeed.Hub) *maps { return &maps{hub: hub, apps: map[shard.App]struct{}{}} }

// follow takes over a change from the leader.
func (m *maps) follow(u mapfeed.Update) error {
	m.note(u.Map.App)
	return m.hub.Put(u)
}

// publish takes over news of our own ledger.
func (m *maps) publish(p ledger.Publication) error {
	switch {
	case p.Removed:
		m.remove(p.App)
		return nil
	case p.Snapshot != nil:
		m.note(p.App)
		m.hub.Set(p.Snapshot)
		return nil
	case p.Delta != nil:
		d := *p.Delta
		d.PublishedMS = time.Now().UnixMilli()
		return m.hub.Apply(d)
	default:
		return nil
	}
}

// vouched tells since when the maps may be outdated that this allocator makes, false if it makes none: a leader that cannot prove its lock may have a
// successor.
func (a *Allocator) vouched() (at time.Time, made bool) {
	if proven := a.proven.Load(); proven != nil {
		at = *proven
	}
	return at, a.leading.Load() != nil
}

func (m *maps) note(app shard.App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apps[app] = struct{}{}
}

func (m *maps) remove(app shard.App) {
	m.mu.Lock()
	delete(m.apps, app)
	m.mu.Unlock()
	m.hub.Remove(app)
}

// keepOnly removes every app that keep does not name.
func (m *maps) keepOnly(keep map[shard.App]bool) {
	m.mu.Lock()
	apps := shard.SortedKeys(m.apps)
	m.mu.Unlock()
	for _, app := range apps {
		if !keep[app] {
			m.remove(app)
		}
	}
}
