package sdk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/nearest"
	"github.com/shardmanager/shardmanager/internal/retrybudget"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
)

// Router sends requests to the server that owns their key. It follows the shard map of one app, from the agent on the same machine if
// there is one and else from the allocators, and keeps the last map on disk, so that it works through a loss of all of them.
//
// All methods are safe for concurrent use. Run must be running for the map to move.
type Router struct {
	app      string
	cfg      routerConfig
	began    time.Time
	budget   *retrybudget.Budget
	follower *mapfeed.Follower
	cache    *mapfeed.Cache // nil: no disk
	view     atomic.Pointer[mapView]
	chooser  *nearest.Chooser
	trouble  atomic.Pointer[error] // why the last feed ended or could not be had; nil: a map arrived since

	mu       sync.Mutex // guards watchers
	watchers map[int]func(MapChange)
	watchID  int
}

var validApp = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// NewRouter makes the Router of an app. It reads the disk cache, and dials nothing before Run.
func NewRouter(app string, opts ...RouterOption) (*Router, error) {
	if !validApp.MatchString(app) {
		return nil, fmt.Errorf("router: app %q: expected 1 to 63 of a-z, 0-9 and -, starting with a letter and not ending with -", app)
	}
	cfg := routerConfig{agent: cmp.Or(os.Getenv(agentVariable), defaultRouterAgent), logger: slog.New(slog.DiscardHandler), attempt: DefaultAttemptTimeout,
		retryPercent: DefaultRetryPercent, retriesPerSecond: DefaultRetriesPerSecond}
	for _, opt := range opts {
		opt.applyRouter(&cfg)
	}
	if cfg.attempt <= 0 {
		return nil, fmt.Errorf("router: attempt timeout: expected more than 0, not %s", cfg.attempt)
	}
	if cfg.retryPercent < 0 || cfg.retriesPerSecond < 0 {
		return nil, fmt.Errorf("router: retry budget: expected 0 or more, not %d %% and %d a second", cfg.retryPercent, cfg.retriesPerSecond)
	}
	r := &Router{
		app: app, cfg: cfg, began: time.Now(), budget: retrybudget.New(cfg.retryPercent, cfg.retriesPerSecond),
		chooser: nearest.NewChooser(cfg.region, cfg.zone), watchers: map[int]func(MapChange){},
	}
	start, err := r.openCache()
	if err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	r.view.Store(&mapView{m: start, changed: make(chan struct{})})
	follow := mapfeed.FollowerConfig{App: shard.App(app), Cluster: cfg.cluster, Start: start, Latencies: r.chooser.SetLatencies}
	if cfg.agent != "" {
		follow.Addresses, follow.Preferred = []string{cfg.agent}, 1
	}
	follow.Addresses = append(follow.Addresses, cfg.allocators...)
	if r.follower, err = mapfeed.NewFollower(follow, r.update, r.troubled); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	return r, nil
}

func (r *Router) openCache() (*shard.Map, error) {
	if r.cfg.cacheDir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(r.cfg.cacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	cache, start, err := mapfeed.OpenCache(filepath.Join(r.cfg.cacheDir, "router-"+r.app+".map"), r.cfg.cluster, shard.App(r.app))
	if err != nil && !errors.Is(err, wire.ErrCorrupt) {
		return nil, err
	}
	if err != nil {
		r.cfg.logger.Warn("map cache unusable", "app", r.app, "error", err)
	}
	r.cache = cache
	return start, nil
}

// Run follows the shard map until ctx ends; it returns ctx's error.
func (r *Router) Run(ctx context.Context) error {
	return mapfeed.RunSaved(ctx, r.follower, r.cache, r.unsaved)
}

// Ready waits for a first map; the disk's counts. Its error says why there is none.
func (r *Router) Ready(ctx context.Context) error {
	for {
		v := r.view.Load()
		if v.m != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("router: app %s: no shard map yet: %w", r.app, errors.Join(ctx.Err(), r.lastTrouble()))
		case <-v.changed:
		}
	}
}

// Version is that of the newest map, `generation.index.counter`; empty if there is none yet.
func (r *Router) Version() string {
	v := r.view.Load()
	if v.m == nil {
		return ""
	}
	return v.m.Version.String()
}

// MapChange is one change of the shard map.
type MapChange struct {
	Version string   // of the map after the change
	Shards  []string // ids of the shards whose primary or term changed
}

// Watch calls fn at every change of the map, in order, until stop is called; lookups in fn see the new map. fn runs on the goroutine that
// follows the map and must be quick.
func (r *Router) Watch(fn func(MapChange)) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchID++
	id := r.watchID
	r.watchers[id] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, id)
	}
}

// update makes a newer map the one in use, and wakes whoever waits for a change.
func (r *Router) update(u mapfeed.Update) {
	old, watchers := r.swap(u.Map)
	close(old.changed)
	if delay, known := u.Delay(time.Now()); known && r.cfg.delayed != nil {
		r.cfg.delayed(delay)
	}
	if r.trouble.Swap(nil) != nil || old.m == nil {
		r.cfg.logger.Info("following shard map", "app", r.app, "address", r.follower.Following(), "version", u.Map.Version.String())
	}
	if r.cache != nil {
		r.cache.Save(u.Map)
	}
	if len(watchers) == 0 {
		return
	}
	change := MapChange{Version: u.Map.Version.String(), Shards: changedShards(old.m, u)}
	for _, fn := range watchers {
		fn(change)
	}
}

// swap puts a map in use and lists whom to tell: who begins to watch sees the map or is told of it, never both.
func (r *Router) swap(m *shard.Map) (old *mapView, watchers []func(MapChange)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range shard.SortedKeys(r.watchers) {
		watchers = append(watchers, r.watchers[id])
	}
	return r.view.Swap(&mapView{m: m, changed: make(chan struct{})}), watchers
}

// changedShards lists the ids of the shards whose primary or term differ between two maps.
func changedShards(old *shard.Map, u mapfeed.Update) []string {
	var ids []string
	if u.Delta != nil {
		for _, e := range u.Delta.Shards {
			ids = append(ids, string(u.Map.ID(e.Index)))
		}
		return ids
	}
	for i := range shard.Index(u.Map.Space.Shards) {
		now, term := u.Map.Lookup(i)
		if old == nil || i >= shard.Index(old.Space.Shards) {
			ids = append(ids, string(u.Map.ID(i)))
			continue
		}
		before, oldTerm := old.Lookup(i)
		if term != oldTerm || (now == nil) != (before == nil) || (now != nil && now.ID != before.ID) {
			ids = append(ids, string(u.Map.ID(i)))
		}
	}
	return ids
}

// troubled notes why there is no feed, and logs it once for each stretch of trouble.
func (r *Router) troubled(err error) {
	if r.trouble.Swap(&err) == nil {
		r.cfg.logger.Warn("shard map not followed, using the last one", "app", r.app, "error", err)
	}
}

func (r *Router) lastTrouble() error {
	if err := r.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *Router) unsaved(err error) {
	r.cfg.logger.Warn("shard map not saved", "app", r.app, "error", err)
}

// Times of a Router.
const (
	// DefaultAttemptTimeout is how long one attempt waits for an answer before a repeatable request is sent again.
	DefaultAttemptTimeout = time.Second
	// DefaultDeadline is how long a request whose context has no deadline is retried.
	DefaultDeadline = 30 * time.Second
)

// The retry budget of a Router without WithRetryBudget.
const (
	DefaultRetryPercent     = 20
	DefaultRetriesPerSecond = 10
)
