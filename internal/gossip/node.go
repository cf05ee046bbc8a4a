package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/coordinate"
	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/latency"
)

const (
	// forgetAfter is how long those that failed or left are remembered. Lives have names of their own: nobody comes back under an old one.
	forgetAfter = time.Hour
	// farewell is how many rounds of gossip a call of serf's waits at most for others to hear of something, such as that this member leaves,
	// which is two things to say: whoever hears the second before the first takes it for a failure, so the first has time to go out where a
	// process comes to its turn late. What was not said by then goes on being said; the last members to leave wait for it in vain. Whoever has
	// said that it leaves is there for afterwards rounds. That is eleven rounds at most, and fewer wherever the words go out at once.
	farewell, afterwards = 4, 3
	// settleProbes is how many probes a coordinate needs: among regions 90 to 200 ms apart, estimates are off by 14 % after as many.
	settleProbes = 15
	// queueDepth is how many broadcasts may wait; serf drops the oldest beyond it.
	queueDepth = 4096
)

// Deps is what a node needs from its surroundings.
type Deps struct {
	Log zerolog.Logger
	// Seeds names members to join besides those of the configuration, others than self. It is asked anew in each round while this member is
	// alone, and ever less often after that; nil: none.
	Seeds func(ctx context.Context, self string) ([]string, error)
	// Peers is the file of whom this member gossiped with, for a start without seeds; empty: none.
	Peers string
	// Deliver gets what happens to members, in order, on a goroutine of its own; nil: nobody does. It may wait; the oldest events are lost
	// then (Missed). It must have returned before Shutdown can.
	Deliver func(Event)

	transport func(ctx context.Context, cfg Config, logger *log.Logger) (memberlist.Transport, error) // nil: sockets
	tune      func(*serf.Config)                                                                      // nil: nothing
}

// Node is this process's membership. Its sockets are open from Open to Leave or Shutdown. It is safe for concurrent use.
type Node struct {
	cfg      Config
	identity Identity
	deps     Deps
	log      zerolog.Logger
	serf     *serf.Serf
	own      string // host:port that others are told
	feed     *feed
	peers    *peers
	changed  chan struct{} // capacity 1: the membership did
	probes   time.Duration // between two of them
	askDue   time.Time     // Seeds, by a member that is not alone; for Run alone
	askPause time.Duration // the pause that led to it; likewise
	settled  atomic.Bool   // the coordinate is worth telling

	dials  context.Context // until Run ends
	hangUp context.CancelFunc
	ctx    context.Context // of the goroutines
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	apps   []string
	retag  chan struct{} // capacity 1: apps changed
	closed sync.Once
}

// Open checks the configuration and opens the sockets; others can join from then on, and Run joins them.
func Open(cfg Config, identity Identity, deps Deps) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	if !cfg.On() {
		return nil, errors.New("gossip: gossip_listen: expected host:port")
	}
	n := &Node{
		cfg: cfg, identity: identity, deps: deps, log: deps.Log, feed: newFeed(deps.Deliver), changed: make(chan struct{}, 1), retag: make(chan struct{}, 1),
	}
	var unread error
	if n.peers, unread = openPeers(deps.Peers, identity.Cluster); unread != nil {
		n.log.Warn().Err(unread).Msg("gossip starts without the peers that it knew")
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.dials, n.hangUp = context.WithCancel(n.ctx)
	events, err := n.create()
	if err != nil {
		n.cancel()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	local := memberOf(n.serf.LocalMember())
	n.own = local.Address
	if cfg.exposed() {
		n.log.Warn().Str("setting", "gossip_key_file").Msg("gossip is neither encrypted nor authenticated")
	}
	n.work.Go(func() { n.drain(events) })
	n.work.Go(func() { n.feed.run(n.ctx.Done()) })
	n.work.Go(n.keepPeers)
	n.work.Go(n.keepTags)
	n.work.Go(n.settle)
	n.log.Info().Str("address", n.own).Str("life", local.Life).Bool("encrypted", n.serf.EncryptionEnabled()).Msg("gossip listens")
	return n, nil
}

// create opens the transport and starts serf on it.
func (n *Node) create() (<-chan serf.Event, error) {
	tags, err := n.identity.tags(nil)
	if err != nil {
		return nil, err
	}
	ring, err := openKeyring(n.cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	logger := newLogger(n.log)
	open := n.deps.transport
	if open == nil {
		open = listen
	}
	events := make(chan serf.Event, serfEvents)
	conf := serf.DefaultConfig()
	conf.Init()
	conf.NodeName, conf.Tags, conf.EventCh = n.identity.name(), tags, events
	conf.Logger, conf.Merge = logger, sameCluster(n.identity.Cluster)
	conf.ReconnectTimeout, conf.TombstoneTimeout = forgetAfter, forgetAfter
	conf.MinQueueDepth = queueDepth
	conf.EnableNameConflictResolution = false // no two lives have one name
	conf.KeyringFile = n.cfg.KeyFile
	conf.MemberlistConfig = n.cfg.times()
	round := conf.MemberlistConfig.GossipInterval
	conf.BroadcastTimeout, conf.LeavePropagateDelay = farewell*round, afterwards*round
	conf.MemberlistConfig.Logger, conf.MemberlistConfig.Keyring = logger, ring
	if n.cfg.Advertise != "" {
		host, port, err := split(n.cfg.Advertise)
		if err != nil {
			return nil, fmt.Errorf("gossip_advertise: %w", err)
		}
		ip, err := resolve("gossip_advertise", host)
		if err != nil {
			return nil, err
		}
		conf.MemberlistConfig.AdvertiseAddr, conf.MemberlistConfig.AdvertisePort = ip.String(), port
	}
	if n.deps.tune != nil {
		n.deps.tune(conf)
	}
	n.probes = conf.MemberlistConfig.ProbeInterval
	transport, err := open(n.dials, n.cfg, logger)
	if err != nil {
		return nil, err
	}
	conf.MemberlistConfig.Transport = transport
	if n.serf, err = serf.Create(conf); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip_listen: %s", plain(err)), transport.Shutdown())
	}
	return events, nil
}

// sameCluster refuses to merge with another cluster.
type sameCluster string

// NotifyMerge implements serf.MergeDelegate.
func (c sameCluster) NotifyMerge(members []*serf.Member) error {
	for _, m := range members {
		if got := m.Tags[tagCluster]; got != string(c) {
			return fmt.Errorf("%s %q met a member of %q", otherCluster, string(c), got)
		}
	}
	return nil
}

// drain empties serf's channel and notes that something changed.
func (n *Node) drain(events <-chan serf.Event) {
	for {
		select {
		case e := <-events:
			n.feed.put(eventsOf(e))
			signal(n.changed)
		case <-n.serf.ShutdownCh():
			return
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Address is where other members reach this one.
func (n *Node) Address() string { return n.own }

// Members lists every life that is known, this one included, by name.
func (n *Node) Members() []Member {
	var members []Member
	for _, m := range n.serf.Members() {
		members = append(members, memberOf(m))
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Life, b.Life) })
	return members
}

// Coordinate is where this host is; false: too little was measured yet.
func (n *Node) Coordinate() (latency.Coordinate, bool) {
	c, err := n.serf.GetCoordinate()
	if err != nil {
		return latency.Coordinate{}, false
	}
	out, ok := coordinateOf(c)
	return out, ok && n.settled.Load()
}

// settle notes when enough was measured: settleProbes after the first that moved the coordinate.
func (n *Node) settle() {
	ticker := time.NewTicker(n.probes)
	defer ticker.Stop()
	for made := 0; made <= settleProbes; {
		select {
		case <-ticker.C:
		case <-n.ctx.Done():
			return
		}
		c, err := n.serf.GetCoordinate()
		if err != nil {
			continue
		}
		if _, ok := coordinateOf(c); ok {
			made++
		}
	}
	n.settled.Store(true)
}

// coordinateOf makes whole nanoseconds of seconds; false for what is no number, or is where no measurement has been.
func coordinateOf(c *coordinate.Coordinate) (latency.Coordinate, bool) {
	if !c.IsValid() || !slices.ContainsFunc(c.Vec, func(part float64) bool { return part != 0 }) {
		return latency.Coordinate{}, false
	}
	nanoseconds := func(seconds float64) time.Duration {
		limit := latency.MaxExtent.Seconds()
		return time.Duration(math.Round(min(max(seconds, -limit), limit) * 1e9))
	}
	out := latency.Coordinate{
		Vector: make([]time.Duration, len(c.Vec)), Height: max(nanoseconds(c.Height), 0), Adjustment: nanoseconds(c.Adjustment),
		Error: int(math.Round(min(max(c.Error*1000, 0), latency.Unknown))),
	}
	for i, part := range c.Vec {
		out.Vector[i] = nanoseconds(part)
	}
	return out, out.Check() == nil
}

// Serve says which apps this member serves, from now on; others hear of it soon. It never waits.
func (n *Node) Serve(apps []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(n.apps, apps) {
		return
	}
	n.apps = slices.Clone(apps)
	signal(n.retag)
}

// keepTags tells the others what Serve said; serf makes its caller wait until they were told.
func (n *Node) keepTags() {
	for {
		select {
		case <-n.retag:
		case <-n.ctx.Done():
			return
		}
		n.mu.Lock()
		apps := n.apps
		n.mu.Unlock()
		tags, err := n.identity.tags(apps)
		if err == nil {
			err = n.serf.SetTags(tags)
		}
		if err != nil && n.ctx.Err() == nil && !strings.Contains(err.Error(), stillSaying) {
			n.log.Warn().Err(err).Strs("apps", apps).Msg("gossip was not told of all apps") // the next change or push/pull carries them
		}
	}
}

// keepPeers writes whom this member knows, at most once a second.
func (n *Node) keepPeers() {
	for {
		select {
		case <-n.changed:
		case <-n.ctx.Done():
			return
		}
		if err := n.peers.save(n.Members(), n.own); err != nil {
			n.log.Warn().Err(err).Msg("gossip peers not kept for the next start")
		}
		select {
		case <-time.After(time.Second):
		case <-n.ctx.Done():
			return
		}
	}
}

// Leave tells the others that this member goes, and ends. They do not count it as failed.
func (n *Node) Leave() error {
	if err := n.serf.Leave(); err != nil {
		n.log.Warn().Err(err).Msg("gossip left without a word")
	}
	return n.Shutdown()
}

// Shutdown ends without telling anybody: to the others the member fails. It may be called more than once.
func (n *Node) Shutdown() (err error) {
	n.closed.Do(func() {
		n.cancel()
		err = n.serf.Shutdown()
		n.work.Wait()
	})
	return err
}
