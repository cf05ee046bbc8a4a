package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/policies"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

const theApp = shard.App("kv")

// Purposes of randomness.
const (
	purposeShape uint64 = iota + 1
	purposeFaults
	purposeRun
	purposeRestore
)

// World is a simulated cluster.
type World struct {
	opt      Options
	settings ledger.Settings
	queue    virtual.Queue
	chance   virtual.Chance
	net      network
	watch    *promise.Watch
	trace    *trace
	planner  policies.Planner

	store      *store
	storage    *storage
	allocators []*allocator
	hosts      []*host
	clients    []*client
	ids        []shard.ID
	demand     map[shard.ID]int64

	incarnations shard.Incarnation
	streams      roster.StreamID

	// What this run is like, drawn by its seed.
	planned    bool // nothing but planned events happens
	shared     bool // applications keep their data in a storage that checks terms
	exitProves bool
	capacity   int
	repeats    int // commands that come again, per mille
	version    string
	temper     temper

	released     time.Duration // when an operator released a hold last
	served       int
	failed       int
	quiet        bool                             // nobody plans anything any more
	unreachables map[shard.ServerID]time.Duration // since when the leader cannot hear of a server
	fences       map[shard.ServerID]time.Duration // when a server was fenced last
	doomed       map[ledger.Owner]time.Duration   // when a leader decided last to fence somebody
}

// newWorld makes the cluster of a seed: its shape, its settings, and what its application is like.
func newWorld(o Options) *World {
	w := &World{
		opt: o, chance: virtual.NewChance(o.Seed, purposeRun), watch: promise.NewWatch(), trace: newTrace(o.Trace), storage: newStorage(),
		demand: map[shard.ID]int64{}, version: "1", released: -time.Hour, unreachables: map[shard.ServerID]time.Duration{}, fences: map[shard.ServerID]time.Duration{},
		doomed: map[ledger.Owner]time.Duration{},
	}
	w.net = network{w: w, region: map[place]string{}, cut: map[[2]place]bool{}, late: map[place]time.Duration{}}
	shape := virtual.NewChance(o.Seed, purposeShape)
	w.settings = settingsOf(shape)
	w.shared, w.exitProves = shape.Half(), shape.IntN(4) > 0
	w.temper = temper{slow: shape.Span(2*time.Millisecond, 200*time.Millisecond)}
	w.capacity = o.Shards
	w.store = newStore(w)
	replicas := 1
	if !w.shared && shape.Half() {
		replicas = 2 + shape.IntN(2)
	}
	for i := range o.Shards {
		w.ids = append(w.ids, shard.HashSpace{Shards: uint32(o.Shards)}.ID(shard.Index(i)))
		w.demand[w.ids[i]] = 1 + shape.Int64N(20)
	}
	w.capacity = max(4, o.Shards*replicas*2/o.Servers)
	w.addMachines(shape)
	w.store.apply(ledger.PutSpec{Spec: w.specOf(shape, replicas)}, 0)
	return w
}

// longLease is a validity by which clocks that err come far apart.
const longLease = 20 * time.Second

// settingsOf are the defaults, the fast profile, or long leases, with shorter times where only patience is at stake.
func settingsOf(c virtual.Chance) ledger.Settings {
	s := ledger.Settings{PartitionGrace: 15 * time.Second, LoadDeadline: 30 * time.Second}
	switch c.IntN(7) {
	case 0, 1, 2:
		s.Interval, s.Validity, s.LeaderValidity = 500*time.Millisecond, 2500*time.Millisecond, 5*time.Second
	case 3:
		s.Validity, s.LeaderValidity = longLease, longLease
	}
	s.Probation.Window, s.Probation.First, s.Probation.Most = time.Minute, 2*time.Second, 8*time.Second
	return s.Defaults()
}

func (w *World) specOf(c virtual.Chance, replicas int) ledger.Spec {
	spec := ledger.Spec{Name: theApp, Space: shard.KeySpace{Hash: shard.HashSpace{Shards: uint32(w.opt.Shards)}}, ResourceVersion: 1,
		MaxMoves: 4 + c.IntN(60), MaxMovesServer: 2 + c.IntN(8)}
	if replicas > 1 {
		spec.Replication, spec.Replicas = secondaries, replicas
	}
	return spec
}

// addMachines places allocators, hosts and clients in three regions, and has every clock err within what waits cover.
func (w *World) addMachines(c virtual.Chance) {
	at := place(1)
	apart := c.IntN(4) == 0 // hosts as slow and allocators as fast as may be
	clock := func(worst int64) *virtual.Clock {
		boot, rates := c.Span(time.Hour, 100*time.Hour), driftOf(c)
		if apart {
			rates = virtual.Rates{Boot: worst, Raw: worst}
		}
		return virtual.NewClock(boot, boot-c.UpTo(time.Hour), rates)
	}
	regions := []string{"eu", "us", "ap"}
	for i := range w.opt.Allocators {
		a := &allocator{w: w, name: fmt.Sprint("alloc", i), at: at, clock: clock(mostDrift)}
		w.net.region[at] = regions[i%len(regions)]
		w.allocators = append(w.allocators, a)
		at++
	}
	for i := range w.opt.Servers {
		region := regions[i%len(regions)]
		h := &host{w: w, name: fmt.Sprint("host", i), at: at, clock: clock(-mostDrift),
			where: shard.Locality{Region: region, Zone: fmt.Sprintf("%s-%d", region, i/len(regions)%2), Host: fmt.Sprint("host", i)}}
		h.id = shard.MakeServerID(h.name, theApp)
		w.net.region[at] = region
		w.hosts = append(w.hosts, h)
		w.observe(promise.Capacity{Server: h.id, Most: w.capacity, Where: h.where})
		at++
	}
	for i := range w.opt.Clients {
		w.net.region[at] = regions[i%len(regions)]
		w.clients = append(w.clients, &client{w: w, name: fmt.Sprint("client", i), at: at})
		at++
	}
}

// mostDrift is what waits cover, nearly: in millionths.
const mostDrift = 9_900

// driftOf is how much a machine's clocks err: most not at all, some by all that is allowed, and each of the two as it likes.
func driftOf(c virtual.Chance) virtual.Rates {
	list := []int64{0, 0, 50, -200, 5_000, -5_000, mostDrift, -mostDrift}
	return virtual.Rates{Boot: virtual.Pick(c, list), Raw: virtual.Pick(c, list)}
}

func (w *World) boot() {
	for _, a := range w.allocators {
		w.queue.After(w.chance.UpTo(time.Second), a.start)
	}
	for _, h := range w.hosts {
		w.queue.After(w.chance.UpTo(2*time.Second), h.boot)
	}
	for _, c := range w.clients {
		w.queue.After(20*time.Second, c.start)
	}
	w.queue.After(time.Second, w.lookAround)
}

func (w *World) observe(o promise.Observation) { w.watch.See(w.queue.Now(), o) }

func (w *World) say(who, format string, args ...any) {
	if w.opt.Trace == nil {
		return
	}
	w.trace.line(w.queue.Now(), who, format, args...)
}

func (w *World) wall() time.Time { return midnight.Add(w.queue.Now()) }

func (w *World) hostOf(id shard.ServerID) *host {
	i := slices.IndexFunc(w.hosts, func(h *host) bool { return h.id == id })
	return w.hosts[i]
}

func (w *World) allocatorAt(p place) *allocator {
	if i := int(p) - 1; i >= 0 && i < len(w.allocators) {
		return w.allocators[i]
	}
	return nil
}

// leader is the allocator that has the lock and leads.
func (w *World) leader() *tenure {
	a := w.allocatorAt(w.store.lock.holder)
	if a == nil || a.tenure == nil || a.tenure.over || a.tenure.session != w.store.lock.session || !a.process.Runs() {
		return nil
	}
	return a.tenure
}

// lockChanged is the watch of the leader's key: everybody who can hears of it.
func (w *World) lockChanged() {
	l := w.store.lock
	for _, a := range w.allocators {
		w.net.carry(theStore, a.at, func() { a.process.Do(func() { a.lockSeen(l) }) })
	}
	for _, h := range w.hosts {
		w.net.carry(theStore, h.at, func() {
			if g := h.agent; g != nil {
				g.process.Do(func() { g.leader = l })
			}
		})
	}
}

// published gives a map to those who follow.
func (w *World) published(from *allocator, m *shard.Map) {
	for _, a := range w.allocators {
		if a != from {
			w.net.carry(from.at, a.at, func() {
				a.process.Do(func() {
					if a.tenure == nil && (a.maps == nil || m != nil && m.Version.Compare(a.maps.Version) > 0) {
						a.maps = m
					}
				})
			})
		}
	}
	for _, c := range w.clients {
		if c.process != nil {
			w.net.carry(from.at, c.at, func() { c.process.Do(func() { c.learn(m) }) })
		}
	}
}

func (w *World) decided(who string, d ledger.Decision) {
	w.observe(promise.Decided{Decision: d})
	if d.What == "incarnation over" {
		w.observe(promise.Over{Owner: ledger.Owner{Server: d.Server, Incarnation: d.Incarnation}, Why: d.Why})
	}
	if d.What == "fence" {
		w.doomed[ledger.Owner{Server: d.Server, Incarnation: d.Incarnation}] = w.queue.Now()
	}
	if d.What == "hold released" {
		w.released = w.queue.Now()
	}
	w.say(who, "%s%s", d.What, detail(string(d.Shard)+onServer(d.Server), d.Order, d.Why))
}

func onServer(id shard.ServerID) string {
	if id == "" {
		return ""
	}
	return " " + string(id)
}

// unheard reports that agents in two zones have not heard of a leader for long (PROTOCOL R16).
func (w *World) unheard(by, leader *allocator) bool {
	zones := map[string]bool{}
	for _, h := range w.hosts {
		g := h.agent
		if g == nil || !g.process.Runs() || w.net.blocked(by.at, h.at) || w.net.blocked(h.at, by.at) || g.attacher == nil {
			continue
		}
		t := g.attacher
		if t.at != nil && t.id != 0 && t.tenure.a == leader && w.queue.Now()-t.heard < silentFor {
			return false
		}
		zones[h.where.Zone] = true
	}
	return len(zones) >= 2
}

// approved tells of a piece of a planned event that was approved, by what the leader must have noticed when it sent that.
func (w *World) approved(id string, p *event.Piece, sent time.Duration) {
	var servers []shard.ServerID
	for _, c := range p.Covers {
		servers = append(servers, c.Server)
	}
	down := map[shard.ServerID]bool{}
	w.noteSilence()
	for _, h := range w.hosts {
		_, registered := w.store.keys[h.id] // one that was fenced is none of the app's servers any more, until it is back
		if since, gone := w.unreachables[h.id]; gone && registered && sent-since > 3*w.settings.Interval+w.settings.ProbeTimeout+2*time.Second {
			down[h.id] = true
		}
	}
	for _, e := range w.store.events {
		for i := range e.Pieces {
			if e.Pieces[i].State.Active() {
				for _, c := range e.Pieces[i].Covers {
					down[c.Server] = true
				}
			}
		}
	}
	for _, s := range servers {
		down[s] = true
	}
	w.observe(promise.Approved{Event: id, Servers: servers, Down: len(down), Most: w.store.spec.Maintenance.MayBeDown(len(w.hosts))})
}
