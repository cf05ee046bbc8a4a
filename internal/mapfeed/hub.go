package mapfeed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Limits and times of a Hub.
const (
	// MaxWatchers is how many streams a hub serves at once by default; the next one is refused with RESOURCE_EXHAUSTED.
	MaxWatchers = 20_000
	// KeepAliveInterval is how often a watcher hears something while nothing changes.
	KeepAliveInterval = time.Second
	// firstMapWait is how long a watcher waits for the first map of an app that the hub has just been asked to follow.
	firstMapWait = 2 * time.Second
	// neverHeard is how old a map is that came from the disk.
	neverHeard = 365 * 24 * time.Hour
)

// HubConfig is how a Hub serves.
type HubConfig struct {
	Cluster  string // watchers configured for another one are refused; empty: not checked
	Watchers int    // most streams at once; 0: MaxWatchers
	// OnWatch is called, outside of any lock, when somebody asks for an app that has no map here. It reports whether one may arrive soon:
	// the watcher then waits for it a moment. nil: no app is ever fetched.
	OnWatch func(shard.App) bool
	// Vouched tells when the maps that are made here were known to be the newest; false: they come from elsewhere, and are as old as what
	// was last Heard. nil: they are made here, and nobody else makes any.
	Vouched func() (at time.Time, made bool)
}

// Hub holds the newest map of each app with its recent changes and serves them to watchers, remote and local. It is safe for concurrent
// use, and no watcher ever makes a writer wait.
type Hub struct {
	cfg HubConfig

	mu        sync.Mutex
	feeds     map[shard.App]*feed
	arrived   chan struct{} // closed when an app gets its first map
	watchers  int
	latencies latencies
}

// NewHub returns an empty hub.
func NewHub(cfg HubConfig) *Hub {
	if cfg.Watchers == 0 {
		cfg.Watchers = MaxWatchers
	}
	return &Hub{cfg: cfg, feeds: map[shard.App]*feed{}, arrived: make(chan struct{}), latencies: latencies{changed: make(chan struct{})}}
}

// Set makes m its app's map; watchers get the whole of it. It reports false, and changes nothing, if the map here is as new or newer.
func (h *Hub) Set(m *shard.Map) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[m.App]
	if f == nil {
		f = &feed{changed: make(chan struct{})}
		h.feeds[m.App] = f
		close(h.arrived)
		h.arrived = make(chan struct{})
	} else if m.Version.Compare(f.current.Version) <= 0 {
		return false
	}
	f.replace(m)
	return true
}

// Apps are those that there are maps of, by name.
func (h *Hub) Apps() []shard.App {
	h.mu.Lock()
	defer h.mu.Unlock()
	return shard.SortedKeys(h.feeds)
}

// Apply moves its app's map on by a delta. It fails if the delta does not begin at the map here; the caller then needs a whole map.
func (h *Hub) Apply(d shard.Delta) error {
	m, ok := h.Map(d.App)
	if !ok {
		return fmt.Errorf("map %s: delta to %s: no map to apply it to", d.App, d.Version)
	}
	next, err := m.Apply(d)
	if err != nil {
		return err
	}
	return h.Put(Update{Map: next, Delta: &d})
}

// Put takes over a change whose map is already made, such as a Follower's. An update that is not newer is ignored; one whose delta
// does not begin at the map here replaces it whole.
func (h *Hub) Put(u Update) error {
	if u.Delta == nil {
		h.Set(u.Map)
		return nil
	}
	if u.Delta.App != u.Map.App || u.Delta.Version.Compare(u.Map.Version) != 0 || u.Delta.Base.Compare(u.Delta.Version) >= 0 {
		return fmt.Errorf("map %s: update to %s: its delta leads from %s to %s", u.Map.App, u.Map.Version, u.Delta.Base, u.Delta.Version)
	}
	if !h.extend(u) {
		h.Set(u.Map)
	}
	return nil
}

func (h *Hub) extend(u Update) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[u.Map.App]
	if f == nil || u.Delta.Base.Compare(f.current.Version) != 0 {
		return false
	}
	f.extend(u.Map, *u.Delta)
	return true
}

// Heard notes that an app's map was up to date at a moment, as far as whoever follows it knows.
func (h *Hub) Heard(app shard.App, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[app]; f != nil {
		f.heard = at
	}
}

// behind is for how long nothing was heard of whoever makes the map.
func (h *Hub) behind(f *feed) time.Duration {
	at, made := time.Now(), true
	if h.cfg.Vouched != nil {
		at, made = h.cfg.Vouched()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if made {
		f.heard = at
	}
	if f.heard.IsZero() {
		return neverHeard
	}
	return max(0, time.Since(f.heard))
}

// Remove forgets an app; its watchers are told that it is gone.
func (h *Hub) Remove(app shard.App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[app]; f != nil {
		delete(h.feeds, app)
		f.end()
	}
}

// Map returns the newest map of an app.
func (h *Hub) Map(app shard.App) (*shard.Map, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.feeds[app]; f != nil {
		return f.current, true
	}
	return nil, false
}

// Subscribe calls fn with the app's map, first whole and then change by change, until ctx ends or the app is removed (nil, then). An app
// without a map is waited for. fn runs on the caller's goroutine; whoever is too slow gets whole maps.
func (h *Hub) Subscribe(ctx context.Context, app shard.App, fn func(Update)) error {
	f, err := h.await(ctx, app)
	if err != nil {
		return err
	}
	var m *shard.Map
	for {
		now := h.read(f, versionOf(m))
		if now.current == nil {
			return nil
		}
		if !now.known {
			m = now.current
			fn(Update{Map: m})
		} else if m, err = replay(m, now.frames, fn); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-now.changed:
		}
	}
}

func versionOf(m *shard.Map) shard.Version {
	if m == nil {
		return shard.Version{}
	}
	return m.Version
}

// replay delivers each frame with the map after it, and returns the last map.
func replay(m *shard.Map, frames []*frame, fn func(Update)) (*shard.Map, error) {
	for _, fr := range frames {
		next, err := m.Apply(fr.delta)
		if err != nil {
			return nil, err
		}
		m = next
		fn(Update{Map: m, Delta: &fr.delta})
	}
	return m, nil
}

// reading is what one look at a feed finds.
type reading struct {
	current *shard.Map // nil: the app is gone
	known   bool       // the version asked about is in the history: frames lead from it to current
	frames  []*frame
	changed <-chan struct{}
}

func (h *Hub) read(f *feed, from shard.Version) reading {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := reading{current: f.current, changed: f.changed}
	if r.current != nil {
		r.frames, r.known = f.after(from)
	}
	return r
}

// await returns the app's feed as soon as there is one.
func (h *Hub) await(ctx context.Context, app shard.App) (*feed, error) {
	for {
		h.mu.Lock()
		f, arrived := h.feeds[app], h.arrived
		h.mu.Unlock()
		if f != nil {
			return f, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-arrived:
		}
	}
}
