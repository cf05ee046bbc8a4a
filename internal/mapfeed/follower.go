package mapfeed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Times of a Follower.
const (
	// Silence is how long a feed may say nothing, three keep-alives, before another address is tried.
	Silence = 3 * time.Second
	// returnInterval is how often a follower that was driven away from its preferred addresses tries them again.
	returnInterval = 30 * time.Second
	// Stale is for how long a hub may not have heard of the leader before another address is looked for whose hub has. At rest the leader proves
	// its lock once a second, and each of at most three links tells of that once a second.
	Stale = 6 * time.Second

	firstRetry   = 50 * time.Millisecond
	longestRetry = 2 * time.Second
)

// FollowerConfig says whom to follow. The zero Silence, Return, Stale and Dial mean the defaults.
type FollowerConfig struct {
	App     shard.App
	Cluster string // refused by a hub of another one; empty: not checked
	// Addresses of hubs: host:port, http://host:port or unix:///path. They are tried in turn from the first, and after a failure from
	// the next.
	Addresses []string
	// Preferred is how many of the first addresses are better than all others: a follower that uses another one goes back to them, without
	// losing the feed that it has, as soon as one answers that has heard of the leader.
	Preferred int
	// Start is a map that is known already, from the disk or from an earlier follower; nil: none.
	Start *shard.Map
	// Latencies is told how far regions are from each other, by whichever hub is followed; nil: nobody is.
	Latencies func(latency.Matrix)
	// Heard is told when the map was up to date, as far as is known; nil: nobody is.
	Heard func(at time.Time)

	Silence time.Duration
	Return  time.Duration
	Stale   time.Duration
	Dial    func(address string) (transport.Endpoint, error)
}

// Follower keeps up with one app's map. Its callbacks run on the goroutine of Run, in order.
type Follower struct {
	cfg       FollowerConfig
	deliver   func(Update)
	trouble   func(error)
	endpoints []transport.Endpoint
	current   atomic.Pointer[shard.Map]
	resync    atomic.Bool // the next stream must begin with a whole map
	following atomic.Pointer[string]
}

// NewFollower checks the addresses; nothing is dialled before Run. deliver gets every change, newer each time. trouble, if not nil, is
// told why a feed ended or could not be had; the follower then goes on by itself.
func NewFollower(cfg FollowerConfig, deliver func(Update), trouble func(error)) (*Follower, error) {
	if len(cfg.Addresses) == 0 {
		return nil, fmt.Errorf("follow map of %s: no address: give that of an agent or allocator", cfg.App)
	}
	if cfg.Silence == 0 {
		cfg.Silence = Silence
	}
	if cfg.Return == 0 {
		cfg.Return = returnInterval
	}
	if cfg.Stale == 0 {
		cfg.Stale = Stale
	}
	if cfg.Dial == nil {
		cfg.Dial = transport.Dial
	}
	if trouble == nil {
		trouble = func(error) {}
	}
	f := &Follower{cfg: cfg, deliver: deliver, trouble: trouble}
	f.current.Store(cfg.Start)
	for _, address := range cfg.Addresses {
		endpoint, err := cfg.Dial(address)
		if err != nil {
			return nil, fmt.Errorf("follow map of %s: %w", cfg.App, err)
		}
		f.endpoints = append(f.endpoints, endpoint)
	}
	return f, nil
}

// Map returns the newest map; nil if there is none yet.
func (f *Follower) Map() *shard.Map { return f.current.Load() }

// Following returns the address that is followed now; empty if none.
func (f *Follower) Following() string {
	if address := f.following.Load(); address != nil {
		return *address
	}
	return ""
}

// Run follows until ctx ends, which is the only way it returns.
func (f *Follower) Run(ctx context.Context) error {
	defer func() {
		for _, e := range f.endpoints {
			e.Close()
		}
	}()
	delay := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(longestRetry),
		backoff.WithMaxElapsedTime(0))
	next := 0
	for ctx.Err() == nil {
		s, err := f.connect(ctx, f.from(next))
		lasted := false
		if err == nil {
			began := time.Now()
			next, err = f.follow(ctx, s)
			lasted = time.Since(began) >= KeepAliveInterval
		}
		if ctx.Err() != nil {
			break
		}
		f.trouble(err)
		if lasted { // a feed that worked and broke: the next address is worth trying at once
			delay.Reset()
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay.NextBackOff()):
		}
	}
	return ctx.Err()
}

// from lists all addresses, from one on.
func (f *Follower) from(first int) []int {
	list := make([]int, len(f.endpoints))
	for i := range list {
		list[i] = (first + i) % len(list)
	}
	return list
}

// connect opens a stream at the first of some addresses that answers.
func (f *Follower) connect(ctx context.Context, where []int) (*session, error) {
	var failed []error
	for _, at := range where {
		s, err := f.open(ctx, at)
		if err == nil {
			return s, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// follow takes in what a stream says until it ends, and returns which address to try next. A better stream takes its place as soon as it
// speaks.
func (f *Follower) follow(ctx context.Context, s *session) (next int, err error) {
	defer f.following.Store(nil)
	for {
		f.following.Store(&f.cfg.Addresses[s.at])
		better := f.seek(ctx, s)
		err = f.drain(s)
		s.close()
		if instead := better(); instead != nil {
			s = instead
			continue
		}
		return (s.at + 1) % len(f.endpoints), fmt.Errorf("follow map of %s: %s: %w", f.cfg.App, f.cfg.Addresses[s.at], err)
	}
}

// seek looks for a better stream than s in the background and closes s once it has one. The function returned stops the search and
// hands over what it found, nil if nothing.
func (f *Follower) seek(ctx context.Context, s *session) func() *session {
	if len(f.endpoints) == 1 {
		return func() *session { return nil }
	}
	looking, stop := context.WithCancel(ctx)
	found := make(chan *session, 1)
	go func() {
		defer close(found)
		ticker := time.NewTicker(min(f.cfg.Return, f.cfg.Stale) / 5)
		defer ticker.Stop()
		last, pause := time.Now(), f.cfg.Stale/2
		for {
			select {
			case <-looking.Done():
				return
			case <-ticker.C:
			}
			if s.behind() <= f.cfg.Stale {
				pause = f.cfg.Stale / 2 // whatever comes next is another outage
			}
			where := f.wanted(s, time.Since(last), pause)
			if len(where) == 0 {
				continue
			}
			last, pause = time.Now(), min(2*pause, f.cfg.Return)
			if better := f.fresh(ctx, looking, where); better != nil {
				found <- better
				s.close()
				return
			}
		}
	}()
	return func() *session {
		stop()
		return <-found
	}
}

// wanted lists where to look for a better stream than s: anywhere else if its hub has not heard of the leader for long, at the preferred
// addresses if it is none of those. That was last done `since` ago; with nobody to hear of, all followers look for a leader, so they pause for
// longer each time.
func (f *Follower) wanted(s *session, since, pause time.Duration) []int {
	switch all := f.from(0); {
	case s.behind() > f.cfg.Stale && since >= pause:
		return slices.Delete(all, s.at, s.at+1)
	case s.at >= f.cfg.Preferred && since >= f.cfg.Return:
		return all[:f.cfg.Preferred]
	}
	return nil
}

// fresh opens a stream at the first of some addresses whose hub has heard of the leader lately; nil if there is none before the search ends.
// The stream lives as long as ctx.
func (f *Follower) fresh(ctx, looking context.Context, where []int) *session {
	for _, at := range where {
		own, cancel := context.WithCancel(ctx)
		keep := context.AfterFunc(looking, cancel)
		s, err := f.open(own, at)
		if err != nil {
			cancel()
			continue
		}
		s.release = cancel
		if keep() && s.behind() <= f.cfg.Stale {
			return s
		}
		s.close()
	}
	return nil
}

// drain takes in a stream's messages until it ends.
func (f *Follower) drain(s *session) error {
	response := s.first
	s.first = nil // it may be as large as the map that it becomes: the stream must not keep it
	for {
		if err := f.take(response); err != nil {
			return err
		}
		if f.cfg.Heard != nil {
			f.cfg.Heard(*s.heard.Load())
		}
		var err error
		if response, err = s.receive(); err != nil {
			return err
		}
	}
}

func (f *Follower) take(response *pb.WatchResponse) error {
	switch m := response.GetMessage().(type) {
	case *pb.WatchResponse_Snapshot:
		return f.takeSnapshot(m.Snapshot)
	case *pb.WatchResponse_Delta:
		return f.takeDelta(m.Delta)
	case *pb.WatchResponse_Latencies:
		if f.cfg.Latencies != nil {
			f.cfg.Latencies(wire.LatenciesFromProto(m.Latencies.GetPairs()))
		}
		return nil
	case *pb.WatchResponse_KeepAlive, nil: // nil: a message of a newer protocol, which says nothing to us
		return nil
	default:
		return fmt.Errorf("unexpected message %T", m)
	}
}

func (f *Follower) takeSnapshot(p *pb.ShardMapSnapshot) error {
	m, err := wire.SnapshotFromProto(p)
	if err != nil {
		return err
	}
	if m.App != f.cfg.App {
		return fmt.Errorf("snapshot of %s instead", m.App)
	}
	f.resync.Store(false)
	if old := f.current.Load(); old != nil && m.Version.Compare(old.Version) <= 0 {
		return nil // a hub that lags behind: an older map never replaces a newer one (R23)
	}
	f.accept(Update{Map: m})
	return nil
}

func (f *Follower) takeDelta(p *pb.ShardMapDelta) error {
	d, err := wire.DeltaFromProto(p)
	if err != nil {
		return err
	}
	old := f.current.Load()
	if old == nil {
		return errors.New("a delta before any whole map")
	}
	if d.Version.Compare(old.Version) <= 0 {
		return nil // from a hub that lags behind, or seen on another stream
	}
	m, err := old.Apply(d)
	if err != nil {
		f.resync.Store(true) // something is missing: only a whole map helps
		return err
	}
	f.accept(Update{Map: m, Delta: &d})
	return nil
}

func (f *Follower) accept(u Update) {
	f.current.Store(u.Map)
	f.deliver(u)
}
