package kvreplica

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Times of a Node.
const (
	// HeartbeatInterval is how often a primary usually confirms its shards to each server with secondaries of them. A secondary's staleness
	// is up to two of them and a round trip while all is well.
	HeartbeatInterval = 200 * time.Millisecond
	// sendTimeout bounds one exchange of writes, installTimeout that of a snapshot; both are tried again.
	sendTimeout    = 2 * time.Second
	installTimeout = 30 * time.Second
	// firstRetry and longestRetry are the pauses after failures.
	firstRetry   = 10 * time.Millisecond
	longestRetry = 500 * time.Millisecond
	dialTimeout  = time.Second
)

// Config of a Node.
type Config struct {
	// Incarnation is this server's present one, 0 while it has none: what is meant for another is refused.
	Incarnation func() uint64
	// Confirm reports whether this server is primary of a shard at a term, under a valid lease, at some instant during the call. It must
	// be quick.
	Confirm func(ctx context.Context, shard string, term uint64) bool
	Log     *slog.Logger
	// Heartbeat is how often a primary confirms its shards to each server with secondaries of them; 0: HeartbeatInterval.
	Heartbeat time.Duration
}

// Node holds the replicas of one server. Safe for concurrent use. Its lock may be taken under a replica's, never the other way round.
type Node struct {
	cfg    Config
	client *http.Client
	begun  time.Time // zero of the clock that staleness counts by
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	shards map[string]*replica
	peers  map[string]*peer
}

// New makes a Node that holds nothing. Run ends what it starts.
func New(cfg Config) *Node {
	ctx, stop := context.WithCancel(context.Background())
	pool := &http.Transport{
		MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
	}
	return &Node{
		cfg: cfg, client: &http.Client{Transport: pool}, begun: time.Now(), ctx: ctx, stop: stop,
		shards: map[string]*replica{}, peers: map[string]*peer{},
	}
}

// Run confirms shards to secondaries until ctx ends, and then ends all replication.
func (n *Node) Run(ctx context.Context) {
	ticker := time.NewTicker(cmp.Or(n.cfg.Heartbeat, HeartbeatInterval))
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			n.confirm(ctx)
		}
	}
	n.stop()
	n.work.Wait()
	n.client.CloseIdleConnections()
}

// clock is the time since some instant of this process.
func (n *Node) clock() time.Duration { return time.Since(n.begun) }

// replica returns a shard's; one that holds nothing where there is none.
func (n *Node) replica(shard string) *replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.shards[shard]
	if r == nil {
		r = &replica{shard: shard}
		n.shards[shard] = r
	}
	return r
}

// Activate makes this server's replica of a shard primary at a term, with what it has; state is what the previous owner's LastState
// returned, if anything. It executes nothing before its first UpdateMembership. A replica that lacks what the previous owner acknowledged
// refuses with ErrNotInSync, a lower term than one seen with ErrStaleTerm.
func (n *Node) Activate(shard string, term uint64, state []byte) error {
	m, err := decodeMark(state)
	if err != nil {
		return fmt.Errorf("activate: shard %s: %w", shard, err)
	}
	r := n.replica(shard)
	r.mu.Lock()
	defer r.mu.Unlock()
	ended, err := r.activate(term, m)
	n.unlink(ended)
	return err
}

// Follow makes this server's replica of a shard a secondary.
func (n *Node) Follow(shard string) {
	r := n.replica(shard)
	r.mu.Lock()
	defer r.mu.Unlock()
	n.unlink(r.follow())
}

// Drop forgets a shard.
func (n *Node) Drop(shard string) {
	r := n.replica(shard)
	r.mu.Lock()
	defer r.mu.Unlock()
	n.unlink(r.drop())
}

// LastState is what the next owner needs in a planned move: little if it is a secondary in sync.
func (n *Node) LastState(shard string, term uint64) ([]byte, error) {
	r := n.replica(shard)
	r.mu.Lock()
	lead, err := r.leads(term)
	if err != nil {
		r.mu.Unlock()
		return nil, err
	}
	m := mark{at: lead.at}
	if len(lead.links) == 0 {
		m.data = lead.data.clone()
	}
	r.mu.Unlock()
	return encodeMark(m)
}

// UpdateMembership makes a list a primary's members, and returns once each has applied everything acknowledged and is waited for by every
// write from then on. A newer list ends it with ErrReplaced. When ctx ends the list stays in force.
func (n *Node) UpdateMembership(ctx context.Context, shard string, term uint64, members []Member) error {
	r := n.replica(shard)
	lead, list, err := n.setMembers(r, term, members)
	if err != nil {
		return fmt.Errorf("update membership: %w", err)
	}
	for {
		settled, changed, err := r.settle(term, lead, list)
		if settled || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("update membership: shard %s: %w", shard, context.Cause(ctx))
		case <-changed:
		}
	}
}

// setMembers begins to carry out a list of members, and returns its number.
func (n *Node) setMembers(r *replica, term uint64, members []Member) (*leader, int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lead, err := r.leads(term)
	if err != nil {
		return nil, 0, err
	}
	added, removed := lead.setMembers(members)
	n.unlink(removed)
	for _, k := range added {
		n.link(r, lead, k)
	}
	n.queued(r, lead, r.links()) // each is asked what it has
	r.wake()
	return lead, lead.list, nil
}

// settle reports whether a list of members is carried out; if not, when to look again.
func (r *replica) settle(term uint64, lead *leader, list int) (bool, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := r.leads(term)
	switch {
	case err != nil:
		return false, nil, fmt.Errorf("update membership: %w", err)
	case now != lead || lead.list != list:
		return false, nil, fmt.Errorf("update membership: shard %s: %w", r.shard, ErrReplaced)
	case lead.settled():
		lead.ready = true
		return true, nil, nil
	}
	return false, r.waiting(), nil
}

// Increment adds one to a key, once for each request, and returns the new value as soon as every member has it. Refusals that say that
// nothing was done are ErrNotPrimary, ErrBusy, ErrFull and ErrSuperseded; after ErrDeposed or ctx's error nobody knows.
func (n *Node) Increment(ctx context.Context, shard string, term uint64, key string, id RequestID) (int64, error) {
	r := n.replica(shard)
	r.mu.Lock()
	lead, err := r.leads(term)
	if err != nil {
		r.mu.Unlock()
		return 0, err
	}
	last := lead.last
	value, p, err := lead.increment(key, id)
	var to []*link
	if lead.last != last {
		to = r.links()
	}
	r.mu.Unlock()
	if err != nil || p == nil {
		return value, err
	}
	n.queued(r, lead, to)
	select {
	case <-p.done:
		return value, p.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Get reads what is acknowledged of a key at its primary.
func (n *Node) Get(shard string, term uint64, key string) (int64, error) {
	r := n.replica(shard)
	r.mu.Lock()
	defer r.mu.Unlock()
	lead, err := r.leads(term)
	if err == nil && !lead.ready {
		err = fmt.Errorf("shard %s: term %d: %w", shard, term, ErrNotPrimary)
	}
	if err != nil {
		return 0, err
	}
	return lead.data.value(key), nil
}

// GetStale reads what a secondary has of a key. Everything acknowledged longer ago than the staleness is in it, and possibly writes that
// never will be acknowledged.
func (n *Node) GetStale(shard, key string) (value int64, staleness time.Duration, err error) {
	r := n.replica(shard)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.role != secondary || r.follower.fresh == 0 {
		return 0, 0, fmt.Errorf("shard %s: %w", shard, ErrNotFollowing)
	}
	return r.follower.data.value(key), n.clock() - r.follower.fresh, nil
}
