package allocator

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// listEvery is how often the leader is asked which apps there are.
const listEvery = time.Second

// follow keeps up with the maps of whoever else leads, until ctx ends.
func (a *Allocator) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		view, changed := a.lock.Get()
		following, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if view.held && view.record.Allocator != a.cfg.Name && view.record.AdminAddress != "" {
				a.followLeader(following, view.record)
			}
		}()
		a.awaitOther(ctx, view, changed)
		stop()
		<-done
	}
	return ctx.Err()
}

// awaitOther returns when somebody else leads, or nobody.
func (a *Allocator) awaitOther(ctx context.Context, now lockView, changed <-chan struct{}) {
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		var next lockView
		next, changed = a.lock.Get()
		if next.held != now.held || next.record.GetAllocator() != now.record.GetAllocator() || next.record.GetAddress() != now.record.GetAddress() {
			return
		}
	}
}

// followLeader follows every app of one leader until ctx ends.
func (a *Allocator) followLeader(ctx context.Context, leader *pb.LeaderRecord) {
	endpoint, err := a.dial(leader.AdminAddress)
	if err != nil {
		a.log.Warn().Err(err).Str("leader", leader.Allocator).Msg("leader's maps cannot be followed")
		return
	}
	defer endpoint.Close()
	client := shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL)
	followers, ctx := errgroup.WithContext(ctx)
	running := map[shard.App]context.CancelFunc{}
	for wait := time.Duration(0); a.pauseOrAsked(ctx, wait); wait = listEvery {
		apps, err := listApps(ctx, client)
		if err != nil {
			continue // the leader is being elected, or cannot be reached: its maps stay as they are
		}
		for app := range apps {
			if running[app] != nil {
				continue
			}
			one, cancel := context.WithCancel(ctx)
			running[app] = cancel
			followers.Go(func() error { return a.followApp(one, leader, app) })
		}
		for _, app := range shard.SortedKeys(running) {
			if !apps[app] {
				running[app]()
				delete(running, app)
			}
		}
		a.maps.keepOnly(apps)
	}
	for _, cancel := range running {
		cancel()
	}
	_ = followers.Wait() // the end of ctx
}

// pauseOrAsked waits until it is time to ask the leader for its apps again: regularly, or because somebody wants one that is not known.
func (a *Allocator) pauseOrAsked(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.wanted:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// appWanted is told that a watcher asks for an app without a map; it reports whether the leader may have it.
func (a *Allocator) appWanted(shard.App) bool {
	if a.leading.Load() != nil {
		return false
	}
	select {
	case a.wanted <- struct{}{}:
	default:
	}
	return true
}

func listApps(ctx context.Context, client shardmanagerv1connect.AdminServiceClient) (map[shard.App]bool, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := client.ListApps(call, new(pb.ListAppsRequest))
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	apps := make(map[shard.App]bool, len(answer.GetSpecs()))
	for _, spec := range answer.GetSpecs() {
		apps[shard.App(spec.GetName())] = true
	}
	return apps, nil
}

// followApp follows one app until ctx ends.
func (a *Allocator) followApp(ctx context.Context, leader *pb.LeaderRecord, app shard.App) error {
	start, _ := a.maps.hub.Map(app)
	f, err := mapfeed.NewFollower(mapfeed.FollowerConfig{
		App: app, Cluster: a.cfg.Cluster, Addresses: []string{leader.Address}, Start: start, Latencies: a.maps.hub.SetLatencies,
		Heard: func(at time.Time) { a.maps.hub.Heard(app, at) },
		Dial:  func(address string) (transport.Endpoint, error) { return a.dial(address) },
	}, func(u mapfeed.Update) {
		if err := a.maps.follow(u); err != nil {
			a.log.Warn().Err(err).Str("app", string(app)).Msg("map of the leader not taken over")
		}
	}, nil)
	if err != nil {
		return err
	}
	return f.Run(ctx)
}
