package ledger_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// agent is an agent and its application: the receiver's table of docs/architecture.md §5, a lease that is renewed on the stream and
// through the store, and an incarnation that ends and never returns.
type agent struct {
	w    *world
	id   shard.ServerID
	zone string
	rate int64

	up        bool  // the application's process lives
	paused    bool  // SIGSTOP: it executes nothing now, but may go on as soon as it is let
	agentDown bool  // the agent's process is away, the application serves on
	cut       bool  // cannot reach any leader
	blind     bool  // cannot reach the store
	hidden    bool  // probes do not reach it
	hung      bool  // the application's process is stopped, its agent lives
	unpulled  bool  // the application does not reach its agent; others reach both
	pulled    int64 // own clock at its last pull
	told      bool  // the leader was told that it does not pull
	serveOn   bool  // it may serve on while nobody vouches, as it was told last
	over      bool  // it is to be told that its incarnation has ended

	inc      shard.Incarnation
	shards   map[shard.ID]*slot
	end      int64 // of the lease, on its own clock
	epoch    shard.Epoch
	conn     *conn
	welcome  bool
	seq      uint64
	asked    map[uint64]int64
	granted  int64 // own clock at the last grant
	vouched  int64
	welcomed int64
	renewed  int64
	tried    int64
	diedAt   int64 // real
	drain    bool
	left     int // shards left, as last told
	prefer   *leader

	failing map[message.Kind]ledger.Status // what callbacks answer instead of done
	mute    map[message.Kind]bool          // callbacks that never answer
	lost    int64                          // time its clocks lost
	away    int64                          // how long a rest lasts
	back    int64                          // real time at which a resting agent returns
}

type slot struct {
	phase     shard.Phase
	term      shard.Term
	max       shard.Order
	under     shard.Order // prepared, serving or forwarding under this order
	cancelled shard.Order
	copy      copyOf
}

func (w *world) addAgent(name, zone string, rate int64) *agent {
	a := &agent{w: w, id: shard.MakeServerID(name, theApp), zone: zone, rate: rate, up: true, asked: map[uint64]int64{},
		failing: map[message.Kind]ledger.Status{}, mute: map[message.Kind]bool{}, left: -1}
	w.agents = append(w.agents, a)
	a.register()
	return a
}

func (a *agent) now() int64 { return a.w.real/permill*a.rate - a.lost }

func (a *agent) server() shard.Server {
	name := string(a.id[:len(a.id)-len(theApp)-1])
	where := shard.Locality{Region: "r", Zone: a.zone}
	if region, zone, both := strings.Cut(a.zone, "/"); both {
		where = shard.Locality{Region: region, Zone: zone}
	}
	return shard.Server{ID: a.id, App: theApp, Agent: name, Incarnation: a.inc, Locality: where,
		DataAddress: name + ":1", AgentAddress: name + ":2"}
}

// register begins an incarnation. Whatever was before has ended: everything is dropped, the lease is over, the key is gone.
func (a *agent) register() {
	var ended []shard.Incarnation
	if a.inc != 0 {
		ended = []shard.Incarnation{a.inc}
	}
	a.w.incs++
	a.inc, a.shards, a.end, a.granted = a.w.incs, map[shard.ID]*slot{}, 0, a.now()
	a.drain, a.hung, a.over, a.serveOn, a.pulled = false, false, false, false, a.now()
	a.hangUp()
	a.w.store.index++
	a.w.store.keys[a.id] = ledger.Registration{Server: a.server(), Session: fmt.Sprintf("session-%d", a.inc), Create: a.w.store.index, Ended: ended}
}

func (a *agent) hangUp() {
	if a.conn != nil {
		a.conn.gone = true
	}
	a.conn, a.welcome = nil, false
	clear(a.asked)
}

// executes reports whether it could execute an operation of a shard now, or as soon as it is scheduled.
func (a *agent) executes(id shard.ID) bool {
	s := a.shards[id]
	if !a.up || s == nil || a.now() >= a.end {
		return false
	}
	return s.phase == shard.Serving || s.phase == shard.Prepared && a.w.handed[handKey{id, s.max}]
}

func (a *agent) crash() {
	a.up, a.shards, a.end, a.diedAt = false, nil, 0, a.w.real
	a.paused, a.agentDown, a.hung, a.over = false, false, false, false
	a.hangUp()
}

func (a *agent) restart() {
	if !a.up {
		a.up = true
		a.register()
	}
}

// appDies is R5: the agent ends the incarnation, reports it as proven, and registers the next.
func (a *agent) appDies() {
	if !a.active() {
		return
	}
	a.shards, a.end = map[shard.ID]*slot{}, 0
	a.say(ledger.Ended{Stream: a.stream(), Incarnation: a.inc, ProvenDead: true, Reason: "killed"})
	if a.conn != nil {
		a.conn.flush()
	}
	a.register()
}

// endsUnproven ends the incarnation without proof that nothing of it runs any more.
func (a *agent) endsUnproven() {
	if !a.active() {
		return
	}
	a.shards, a.end = map[shard.ID]*slot{}, 0
	a.say(ledger.Ended{Stream: a.stream(), Incarnation: a.inc, Reason: "restarted"})
	if a.conn != nil {
		a.conn.flush()
	}
	a.register()
}

func (a *agent) askRest() {
	if a.active() && a.welcome {
		a.seq++
		a.asked[a.seq] = a.now()
		a.say(ledger.RestRequested{Stream: a.stream(), Sequence: a.seq, Length: 20e9})
	}
}

// flush hands over what was said before the stream is closed in order.
func (c *conn) flush() {
	if !c.held && !c.gone && !c.leader.dead {
		c.leader.inbox = append(c.leader.inbox, c.up...)
		c.up = nil
	}
}

func (a *agent) active() bool { return a.up && !a.paused && !a.agentDown }

func (a *agent) stream() ledger.StreamID {
	if a.conn == nil {
		return 0
	}
	return a.conn.id
}

func (a *agent) say(ev ledger.Event) {
	if a.conn != nil && !a.conn.gone {
		a.conn.up = append(a.conn.up, ev)
	}
}

// deliver takes what came down the stream.
func (a *agent) deliver() {
	if !a.active() || a.conn == nil || a.conn.held {
		return
	}
	if a.conn.gone {
		a.hangUp()
		return
	}
	down := a.conn.down
	a.conn.down = nil
	for _, b := range down {
		if a.conn == nil {
			return
		}
		a.take(b)
	}
}

func (a *agent) take(b message.Body) {
	switch b := b.(type) {
	case message.Welcome:
		if b.Epoch.Compare(a.epoch) < 0 {
			a.hangUp()
			return
		}
		a.epoch, a.welcome, a.welcomed = b.Epoch, true, a.now()
	case message.Grant:
		if b.Remaining == 0 { // this leader cannot grant: perhaps another can
			a.hangUp()
			return
		}
		if a.extend(b.Sequence, int64(b.Remaining)) {
			a.serveOn = b.ServeOn
		}
	case message.RestGranted:
		a.extend(b.Sequence, int64(b.Remaining))
		if b.Remaining > 0 {
			a.agentDown, a.back = true, a.w.real+a.away
			a.hangUp()
		}
	case message.Command:
		if a.w.poison[b.ID.Shard] && (b.ID.Kind == message.AddShard || b.ID.Kind == message.PrepareAddShard) && b.ID.Incarnation == a.inc {
			a.w.note("%s: shard %s kills it", a.id, b.ID.Shard)
			a.appDies()
			return
		}
		if a.hung {
			return
		}
		status := a.obey(b)
		if !a.mute[b.ID.Kind] {
			a.say(ledger.Result{Stream: a.stream(), ID: b.ID, Status: status, Err: "as told"})
		}
	case message.Probe:
		a.probe(b)
	case message.Fenced:
		if b.Incarnation == a.inc {
			a.w.note("%s: told that it is fenced: %s", a.id, b.Reason)
			if a.over = a.hung; !a.over { // its application drops everything before the next incarnation
				a.register()
			}
		}
	case message.Refuse, message.Close:
		a.hangUp()
	case message.DrainProgress:
		a.left = b.Remaining
	}
}

func (a *agent) extend(seq uint64, remaining int64) bool {
	asked, ok := a.asked[seq]
	if !ok || remaining <= 0 || a.conn.leader.epoch.Compare(a.epoch) < 0 {
		return false
	}
	delete(a.asked, seq)
	a.granted = a.now()
	if !a.hung && !a.unpulled {
		a.end = max(a.end, asked+remaining)
	}
	return true
}

// silence is for how long its application has not pulled.
func (a *agent) silence() int64 {
	if !a.hung && !a.unpulled {
		a.pulled, a.told = a.now(), false
	}
	return a.now() - a.pulled
}

// hang stops the application, or lets it go on.
func (a *agent) hang(on bool) {
	a.silence()
	a.hung = on
	if !on && a.over {
		a.over = false
		a.register()
	}
}

func (a *agent) probe(p message.Probe) {
	answer := ledger.ProbeAnswer{Stream: a.stream(), ID: p.ID, Server: p.Target.ID, Agent: evidence.Silent, Application: evidence.Silent}
	for _, o := range a.w.agents {
		if o.id != p.Target.ID || o.hidden {
			continue
		}
		if o.active() {
			answer.Agent = evidence.Answered
		}
		if o.up && !o.paused && !o.hung {
			answer.Application = evidence.Answered
		}
	}
	a.say(answer)
}

// obey is the table of docs/architecture.md §5.
func (a *agent) obey(c message.Command) ledger.Status {
	id := c.ID
	if id.Epoch.Compare(a.epoch) < 0 || id.Incarnation != a.inc {
		return ledger.Stale
	}
	s := a.shards[id.Shard]
	if s == nil {
		s = &slot{phase: shard.None}
		a.shards[id.Shard] = s
	}
	o, order := id.Order, id.Order.Compare(s.max)
	if fail, ok := a.failing[id.Kind]; ok && order >= 0 {
		if id.Kind == message.PrepareDropShard && s.phase == shard.Serving {
			s.max = o // taken, and served on
		}
		return fail
	}
	if a.w.store.spec.Replicas > 0 {
		return a.obeyReplicated(c, s)
	}
	switch id.Kind {
	case message.PrepareAddShard:
		if order > 0 {
			*s = slot{phase: shard.Prepared, term: o.Term, max: o, under: o}
			return ledger.Done
		}
		if order == 0 && s.phase == shard.Prepared && s.under == o {
			return ledger.Done
		}
	case message.PrepareDropShard:
		if order > 0 && s.phase == shard.Serving {
			s.phase, s.max, s.under = shard.Forwarding, o, o
			a.w.handed[handKey{id.Shard, o}] = true
			return ledger.Done
		}
		if order == 0 && s.phase == shard.Forwarding && s.under == o {
			return ledger.Done
		}
	case message.AddShard:
		if order > 0 || order == 0 && s.under == o && (s.phase == shard.Prepared || s.phase == shard.Serving) {
			*s = slot{phase: shard.Serving, term: o.Term, max: o, under: o}
			a.w.serves(id.Shard, o.Term, a)
			return ledger.Done
		}
	case message.CancelMove:
		if order > 0 {
			s.max, s.cancelled = o, o
			return ledger.NotBegun
		}
		if order == 0 && s.cancelled == o {
			return ledger.NotBegun
		}
		return ledger.Begun
	case message.DropShard:
		if order >= 0 {
			*s = slot{phase: shard.None, max: o}
			return ledger.Done
		}
	}
	return ledger.Stale
}

// serves checks that a term is given to one incarnation only.
func (w *world) serves(id shard.ID, term shard.Term, a *agent) {
	if w.served[id] == nil {
		w.served[id] = map[shard.Term]ledger.Owner{}
	}
	owner := ledger.Owner{Server: a.id, Incarnation: a.inc}
	if had, ok := w.served[id][term]; ok && had != owner {
		w.broken("shard %s: term %d was given to %v and to %v", id, term, had, owner)
	}
	w.served[id][term] = owner
}

// work is what the agent does by itself in a step.
func (a *agent) work() {
	w := a.w
	if !a.up && w.real-a.diedAt > 20*second && w.store.keys[a.id].Server.Incarnation == a.inc {
		delete(w.store.keys, a.id) // the session's TTL
	}
	if a.back != 0 && w.real >= a.back {
		a.agentDown, a.back = false, 0
	}
	if !a.active() {
		return
	}
	a.write()
	if a.conn == nil && !a.cut && a.now()-a.tried >= second/5 {
		a.tried = a.now()
		a.dial()
	}
	silent := a.silence()
	tell := silent >= int64(w.settings.Interval)*3/2 && !a.told
	if a.welcome && (tell || a.now()-a.renewed >= int64(w.settings.Interval)) {
		a.told = a.told || tell
		a.renewed = a.now()
		a.seq++
		a.asked[a.seq] = a.now()
		a.say(ledger.Renew{Stream: a.stream(), Sequence: a.seq, AskedNS: a.now(), ApplicationSilent: time.Duration(silent),
			ServeOn: a.serveOn, Loads: a.measured()})
	}
	if a.now()-a.granted >= int64(w.settings.Interval)*3/2 {
		if a.welcome && a.now()-max(a.granted, a.welcomed) >= int64(w.settings.Validity) {
			a.hangUp() // a leader that answers nobody
			a.tried = a.now()
		}
		a.vouch()
	}
	if v := int64(w.settings.Validity); a.serveOn && a.blind && !a.hung && !a.unpulled && a.end-a.now() < v/3 { // PROTOCOL R34
		a.end = a.now() + v
	}
}

// vouch renews through the store (PROTOCOL R2, R31).
func (a *agent) vouch() {
	if a.blind || a.hung || a.unpulled || a.now()-a.vouched < int64(a.w.settings.Validity)/3 {
		return
	}
	a.vouched = a.now()
	if key, ok := a.w.store.keys[a.id]; ok && key.Server.Incarnation == a.inc {
		a.end = max(a.end, a.now()+int64(a.w.settings.Validity))
		return
	}
	a.w.note("%s: its key is gone", a.id)
	a.register()
}

func (a *agent) dial() {
	to := a.w.store.lock
	if a.prefer != nil && !a.prefer.dead {
		to = a.prefer
	}
	if to == nil || to.dead {
		return
	}
	a.w.streams++
	a.conn = &conn{id: a.w.streams, leader: to, agent: a}
	to.conns[a.conn.id] = a.conn
	hello := ledger.Hello{Stream: a.conn.id, Server: a.server(), HighestEpoch: a.epoch, Draining: a.drain, Replicates: true}
	for _, id := range shard.SortedKeys(a.shards) {
		s := a.shards[id]
		h := shard.Held{Shard: id, Phase: s.phase, Max: s.max, Activated: s.phase == shard.Serving}
		if s.phase != shard.None {
			h.Term = s.term
		}
		hello.Held = append(hello.Held, h)
	}
	a.say(hello)
}
