package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// maxFollowed is the most apps whose maps are followed; a watcher of a further one is refused.
	maxFollowed = 256
	// askedWait is how long an app that only a watcher asked for is followed without a map: it may not exist.
	askedWait = 10 * time.Second
)

// maps follows the maps of the apps that this agent serves or somebody asks for, keeps them on disk, and serves them (promise 7).
type maps struct {
	agent *Agent
	hub   *mapfeed.Hub

	mu       sync.Mutex
	followed map[shard.App]*following
	open     bool
	trouble  throttle
}

// following is one followed app. Served ones are followed for good.
type following struct{ served bool }

func newMaps(a *Agent) *maps {
	m := &maps{agent: a, followed: map[shard.App]*following{}}
	m.hub = mapfeed.NewHub(mapfeed.HubConfig{Cluster: a.cfg.Cluster, OnWatch: m.asked, Vouched: func() (at time.Time, made bool) { return at, false }})
	return m
}

// asked is called by the hub for an app that has no map here.
func (m *maps) asked(app shard.App) bool {
	return api.CheckApp(app) == nil && m.begin(app, &following{})
}

// follow follows an app that is served here, for good.
func (m *maps) follow(app shard.App) { m.begin(app, &following{served: true}) }

func (m *maps) begin(app shard.App, f *following) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.followed[app]; ok {
		known.served = known.served || f.served
		return true
	}
	if !m.open || len(m.followed) >= maxFollowed {
		return false
	}
	m.followed[app] = f
	m.agent.work.Go(func() {
		m.run(m.agent.ctx, app)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.followed, app)
	})
	return true
}

// serve lets maps be followed from now on; shut lets no further ones be.
func (m *maps) serve() { m.set(true) }
func (m *maps) shut()  { m.set(false) }

func (m *maps) set(open bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = open
}

func (m *maps) run(ctx context.Context, app shard.App) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cache, first, err := mapfeed.OpenCache(m.agent.dir.mapFile(app), m.agent.cfg.Cluster, app)
	if err != nil {
		m.agent.post(noteMail{what: "map cache", fields: map[string]any{"app": app}, err: err})
	}
	if first != nil {
		m.hub.Set(first)
	}
	impatience := time.AfterFunc(askedWait, func() {
		if _, ok := m.hub.Map(app); !ok && !m.served(app) {
			cancel()
		}
	})
	defer impatience.Stop()
	trouble := func(err error) { m.note(app, err) }
	deliver := func(u mapfeed.Update) {
		if delay, known := u.Delay(time.Now()); known {
			m.agent.metrics.MapArrived(app, delay)
		}
		if err := m.hub.Put(u); err != nil {
			m.note(app, err)
		}
		if cache != nil {
			cache.Save(u.Map)
		}
	}
	for ctx.Err() == nil {
		from, within := m.agent.hubs(ctx)
		if len(from) == 0 {
			return
		}
		follower, err := mapfeed.NewFollower(mapfeed.FollowerConfig{App: app, Cluster: m.agent.cfg.Cluster, Addresses: from, Start: first,
			Latencies: m.hub.SetLatencies, Heard: func(at time.Time) { m.hub.Heard(app, at) }}, deliver, trouble)
		if err != nil {
			m.note(app, err)
			return
		}
		_ = mapfeed.RunSaved(within, follower, cache, trouble) // it ends with its context, and told of failures before
		first = follower.Map()
	}
}

// hubs are the allocators that maps are followed from, and for how long: those that are set, for ever, or else whoever leads by the store's
// word, until another does. None: ctx ended.
func (a *Agent) hubs(ctx context.Context) ([]string, context.Context) {
	if len(a.cfg.Allocators) > 0 {
		return a.cfg.Allocators, ctx
	}
	for {
		e := a.leaders.Election()
		if e.Address != "" {
			within, cancel := context.WithCancel(ctx)
			a.work.Go(func() {
				defer cancel()
				select {
				case <-ctx.Done():
				case <-e.Outdated:
				}
			})
			return []string{e.Address}, within
		}
		select {
		case <-ctx.Done():
			return nil, ctx
		case <-e.Outdated:
		}
	}
}

func (m *maps) served(app shard.App) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.followed[app]
	return ok && f.served
}

func (m *maps) note(app shard.App, err error) {
	m.mu.Lock()
	pass := m.trouble.pass(fmt.Sprint(app, err))
	m.mu.Unlock()
	if pass {
		m.agent.post(noteMail{what: "shard map not followed", fields: map[string]any{"app": app}, err: err})
	}
}
