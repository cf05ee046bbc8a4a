// Package plane is a control plane in memory for the test kit: a store, and one leader at a time that places the shards of an app, moves them, and gives
// the shards of servers that are lost to others. It keeps the order of docs/protocol.md: a decision is in the store before anybody is told, whoever may
// execute a shard has stopped or its lease has ended for certain before another may, every grant has a new term, and what ended never comes back. It
// has none of the policies of the real one (docs/adr/0081).
//
// A goroutine for each shard looks at the shard's row, takes the next step, and looks again; only it changes what the row holds. Leaders keep nothing of their
// own. Called by package virtual, in a bubble; it dials nobody, and speaks by the functions that it is given.
package plane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/memnet"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// App is the name of the app; Node is where leaders are in the network.
const (
	App  = "app"
	Node = "allocator"
)

// Call is one command on its way to a Host.
type Call func(context.Context, shardmanagerv1connect.ShardHostServiceClient) error

// Server is one server of the app.
type Server struct {
	Name, Address       string
	Agent, AgentAddress string // the agent's node and address
	// Command has the agent pass a command on, from a leader of an epoch for an incarnation.
	Command func(ctx context.Context, epoch, incarnation uint64, call Call) error
}

// Disturbance is what happens to a command; zero: nothing.
type Disturbance struct {
	Lose, LoseAnswer   bool
	Delay, DelayAnswer time.Duration
	Again              time.Duration
}

// Config is data.
type Config struct {
	Shards, Secondaries int
	Validity, Interval  time.Duration
	Durable             bool // what is acknowledged survives everything
}

// Deps is what surrounds a Plane.
type Deps struct {
	Net     *memnet.Network
	Checker *ownership.Checker
	Servers []Server // in the order of their names
	Disturb func(server, shardID, command string) Disturbance
	// Runs reports whether an incarnation is that of a process that is there.
	Runs func(Holder) bool
}

// Plane is the store and the leader that there is, if any. It is safe for concurrent use.
type Plane struct {
	cfg     Config
	deps    Deps
	space   shard.HashSpace
	hub     *mapfeed.Hub
	servers map[string]Server
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // commands that come again

	mu       sync.Mutex
	changed  chan struct{} // closed at every change of what follows
	rows     map[string]*row
	lives    map[Holder]*life
	used     uint64 // highest incarnation given out
	leader   *leader
	epoch    uint64
	counter  uint64 // of the map's versions
	drained  map[string]bool
	withheld map[string]bool // servers that get no lease
}

// New makes a Plane without a leader.
func New(cfg Config, deps Deps) *Plane {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plane{
		cfg: cfg, deps: deps, space: shard.HashSpace{Shards: uint32(cfg.Shards)}, hub: mapfeed.NewHub(mapfeed.HubConfig{}), servers: map[string]Server{},
		ctx: ctx, cancel: cancel, changed: make(chan struct{}), rows: map[string]*row{}, lives: map[Holder]*life{}, drained: map[string]bool{}, withheld: map[string]bool{},
	}
	for _, s := range deps.Servers {
		p.servers[s.Name] = s
	}
	for i := range shard.Index(p.space.Shards) {
		id := string(p.space.ID(i))
		p.rows[id] = &row{id: id, index: i}
	}
	return p
}

// Close ends it.
func (p *Plane) Close() {
	p.Depose()
	p.cancel()
	p.running.Wait()
}

// Hub has the shard map.
func (p *Plane) Hub() *mapfeed.Hub { return p.hub }

// Shards are the ids of all shards, in order.
func (p *Plane) Shards() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return shard.SortedKeys(p.rows)
}

// Owner is the server that serves a shard, as far as leaders know; empty: none.
func (p *Plane) Owner(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.rows[id]; r != nil && r.served {
		return r.primary.Server
	}
	return ""
}

// change changes what the store holds and wakes whoever waits for that.
func (p *Plane) change(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	p.wake()
}

// wake tells of a change. The caller holds mu.
func (p *Plane) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Move asks for a shard to be moved to a server; false: there is no such shard.
func (p *Plane) Move(id, server string) (known bool) {
	p.change(func() {
		if r := p.rows[id]; r != nil {
			r.wish, known = server, true
		}
	})
	return known
}

// Drain moves everything off a server, and gives it nothing until Undrain.
func (p *Plane) Drain(server string) { p.change(func() { p.drained[server] = true }) }

// Undrain takes Drain back.
func (p *Plane) Undrain(server string) { p.change(func() { delete(p.drained, server) }) }

// Withhold renews a server's lease no more, until Renew.
func (p *Plane) Withhold(server string) { p.change(func() { p.withheld[server] = true }) }

// Renew takes Withhold back.
func (p *Plane) Renew(server string) { p.change(func() { delete(p.withheld, server) }) }

// WaitServed waits until every shard is in its place: it has a primary that serves it, its secondaries, and no move under way. Else id is one that is
// not, and what says how far it is.
func (p *Plane) WaitServed(within time.Duration) (id, what string) {
	p.wait(within, func() bool {
		id, what = p.unsettled()
		return id == ""
	})
	return id, what
}

// WaitRegistered waits until every server has an incarnation that can be given something.
func (p *Plane) WaitRegistered(within time.Duration) {
	p.wait(within, func() bool {
		return !slices.ContainsFunc(p.deps.Servers, func(s Server) bool {
			_, alive := p.alive(s.Name)
			return !alive
		})
	})
}

// wait returns once a condition, asked under mu, is met, or time is over.
func (p *Plane) wait(within time.Duration, met func() bool) {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	again := time.NewTicker(p.cfg.Interval)
	defer again.Stop()
	for {
		p.mu.Lock()
		done, changed := met(), p.changed
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-again.C: // processes may have come
		case <-timeout.C:
			return
		}
	}
}

// unsettled is a shard that is not in its place; empty: none. The caller holds mu.
func (p *Plane) unsettled() (id, what string) {
	for _, id := range shard.SortedKeys(p.rows) {
		r := p.rows[id]
		life := p.lives[r.primary]
		there := life != nil && !life.lost() && p.deps.Runs(r.primary) && !p.drained[r.primary.Server]
		if !there || !r.served || r.target != (Holder{}) || r.wish != "" || len(r.leaving) > 0 || p.lacks(r) {
			return id, fmt.Sprint(r)
		}
	}
	return "", ""
}
