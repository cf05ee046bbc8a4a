package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// This file is a world around the ledger for tests: a store, leaders (stale ones too), agents with leases and rosters, streams between
// them, and a real time that every clock runs along at its own rate. Everything is deterministic; a step is 100 ms. After every step the
// world checks the promises: one executor a shard, terms that only grow, nothing sent before it is durable.

const (
	step    = int64(100e6)
	second  = int64(1e9)
	theApp  = shard.App("kv")
	permill = 1000
)

// quick are settings that make scenarios short; the proportions are those of the defaults.
func quick() ledger.Settings {
	return ledger.Settings{
		Interval: 500e6, Validity: 2500e6, LeaderValidity: 5e9, PartitionGrace: 6e9, Linger: 500e6, StepDeadline: 2e9, LoadDeadline: 6e9,
	}.Defaults()
}

type world struct {
	real     int64 // ns
	settings ledger.Settings
	store    store
	leaders  []*leader
	agents   []*agent
	streams  ledger.StreamID
	incs     shard.Incarnation
	names    int

	handed  map[handKey]bool             // PrepareDropShard was taken: the target of the move may execute
	history map[shard.Index][]ledger.Row // every row that was ever durable
	served  map[shard.ID]map[shard.Term]ledger.Owner
	sent    []sent // every command ever sent
	plan    func(placement.Input) placement.Plan
	next    []placement.Move         // to be proposed before anything else
	writes  int64                    // of the application, in all
	acked   map[shard.ID][]int64     // writes that a primary acknowledged
	poison  map[shard.ID]bool        // kills whoever loads it
	demand  map[shard.ID]int64       // reads, which replicas share
	named   map[shard.ID]shard.Index // every shard that a named key space ever had
	faults  []string                 // broken promises
	trace   []string
}

type handKey struct {
	id    shard.ID
	order shard.Order
}

type sent struct {
	to ledger.Owner
	c  message.Command
}

type store struct {
	index  uint64
	lock   *leader
	clean  bool
	spec   *ledger.Spec
	chunks map[int][]ledger.Row
	fences map[shard.ServerID]ledger.Fence
	rests  map[shard.ServerID]ledger.Rest
	drains map[shard.ServerID]bool

	probations  map[shard.ServerID]probation.Probation
	quarantines map[shard.ID]probation.Quarantine
	events      map[string]event.Event
	keys        map[shard.ServerID]ledger.Registration
	failing     bool // writes certainly do not commit
}

func newWorld(s ledger.Settings) *world {
	return &world{
		real: 1000 * second, settings: s, handed: map[handKey]bool{}, history: map[shard.Index][]ledger.Row{},
		served: map[shard.ID]map[shard.Term]ledger.Owner{}, plan: spread, named: map[shard.ID]shard.Index{}, acked: map[shard.ID][]int64{},
		store: store{clean: true, chunks: map[int][]ledger.Row{}, fences: map[shard.ServerID]ledger.Fence{}, rests: map[shard.ServerID]ledger.Rest{},
			probations: map[shard.ServerID]probation.Probation{}, quarantines: map[shard.ID]probation.Quarantine{},
			events: map[string]event.Event{},
			drains: map[shard.ServerID]bool{}, keys: map[shard.ServerID]ledger.Registration{}},
	}
}

func (w *world) broken(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf("t=%.1fs: ", float64(w.real)/1e9-1000)+fmt.Sprintf(format, args...))
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%5.1fs  ", float64(w.real)/1e9-1000)+fmt.Sprintf(format, args...))
}

// spread places unplaced shards on the emptiest server that accepts, and empties those that are leaving.
func spread(in placement.Input) placement.Plan {
	p := placement.Plan{App: in.App}
	load := make([]int, len(in.Servers))
	for _, s := range in.Shards {
		for _, r := range s.Replicas {
			if r.On >= 0 {
				load[r.On]++
			}
			if r.To >= 0 {
				load[r.To]++
			}
		}
	}
	emptiest := func(avoid []shard.ServerID) int {
		best := -1
		for i, s := range in.Servers {
			if s.Accepts && !slices.Contains(avoid, s.ID) && (best < 0 || load[i] < load[best]) {
				best = i
			}
		}
		return best
	}
	for _, s := range in.Shards {
		m := placement.Move{Shard: s.Index, Kind: placement.Grant, Reason: placement.Place}
		switch r := s.Primary(); {
		case s.Pinned || s.Backoff:
			continue
		case r != nil && !in.Servers[r.On].Leaving:
			continue
		case r != nil:
			m.Kind, m.From, m.Reason = placement.Migrate, in.Servers[r.On].ID, placement.Drain
		case s.Urgent:
			m.Reason = placement.Failover
		}
		if to := emptiest(s.Avoid); to >= 0 {
			load[to]++
			m.To = in.Servers[to].ID
			p.Moves = append(p.Moves, m)
		}
	}
	return p
}

// leader is one allocator process with the lock, or one that does not know yet that it lost it.
type leader struct {
	w      *world
	name   string
	rate   int64 // of its clocks, per mille of real time
	epoch  shard.Epoch
	core   *ledger.Ledger
	out    ledger.Effects
	inbox  []ledger.Event
	conns  map[ledger.StreamID]*conn
	writes []ledger.Write
	maps   map[shard.App]*shard.Map

	paused    bool // neither reads nor ticks
	blind     bool // cannot reach the store: no confirmation, no write, no read
	slow      bool // writes wait
	confirmed int64
	reads     []shard.ServerID
	plans     []placement.Input
	requests  uint64
	replies   []ledger.Reply
	dead      bool
}

// conn is one Attach stream. Held messages arrive late, lost connections swallow them.
type conn struct {
	id     ledger.StreamID
	leader *leader
	agent  *agent
	up     []ledger.Event
	down   []message.Body
	held   bool
	gone   bool
}

func (ld *leader) now() shard.Instant {
	return shard.Instant{Boot: ld.w.real / permill * ld.rate, Raw: ld.w.real/permill*ld.rate + 7*second}
}

// midnight is the time of day whenever a leader is elected.
var midnight = time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)

// elect lets a new leader take the lock, which must be free, and load.
func (w *world) elect(rate int64) *leader {
	w.names++
	w.store.index++
	ld := &leader{w: w, name: fmt.Sprintf("L%d", w.names), rate: rate, epoch: shard.Epoch{Index: w.store.index}, core: ledger.New(w.settings),
		conns: map[ledger.StreamID]*conn{}, maps: map[shard.App]*shard.Map{}}
	loaded := ledger.Loaded{Epoch: ld.epoch, Acquired: ld.now(), Clean: w.store.clean, Confirmed: ld.now()}
	w.store.lock, w.store.clean = ld, false
	ld.confirmed = w.real
	w.leaders = append(w.leaders, ld)
	if spec := w.store.spec; spec != nil {
		loaded.Apps = []ledger.AppState{{Spec: *spec, Rows: w.rows()}}
	}
	for _, id := range shard.SortedKeys(w.store.keys) {
		loaded.Registered = append(loaded.Registered, w.store.keys[id])
	}
	for _, id := range shard.SortedKeys(w.store.fences) {
		loaded.Fences = append(loaded.Fences, w.store.fences[id])
	}
	for _, id := range shard.SortedKeys(w.store.rests) {
		loaded.Rests = append(loaded.Rests, w.store.rests[id])
	}
	loaded.Probations = maps.Clone(w.store.probations)
	for _, id := range shard.SortedKeys(w.store.quarantines) {
		loaded.Quarantines = append(loaded.Quarantines, w.store.quarantines[id])
	}
	for _, id := range shard.SortedKeys(w.store.events) {
		loaded.Events = append(loaded.Events, w.store.events[id])
	}
	loaded.Drains = append(loaded.Drains, shard.SortedKeys(w.store.drains)...)
	ld.step(loaded)
	ld.step(ledger.ClockRead{Wall: midnight})
	return ld
}

// rows are the durable rows, as they are read: without what is not stored.
func (w *world) rows() []ledger.Row {
	var rows []ledger.Row
	for _, n := range shard.SortedKeys(w.store.chunks) {
		for _, r := range w.store.chunks[n] {
			r.PrimaryMove, r.MembersTold = 0, 0
			rows = append(rows, r)
		}
	}
	return rows
}

func (ld *leader) step(ev ledger.Event) {
	if ld.dead {
		return
	}
	ld.core.Step(ld.now(), ev, &ld.out)
	ld.perform()
}

func (ld *leader) perform() {
	w := ld.w
	ld.writes = append(ld.writes, ld.out.Writes...)
	for _, m := range ld.out.Messages {
		if c := ld.conns[m.Stream]; c != nil && !c.gone {
			if cmd, ok := m.Body.(message.Command); ok {
				w.note("%s → %s: %s %s %s", ld.name, c.agent.id, cmd.ID.Kind, cmd.ID.Shard, cmd.ID.Order)
				w.checkCommand(c.agent, cmd)
			}
			c.down = append(c.down, m.Body)
		}
	}
	for _, p := range ld.out.Publish {
		ld.publish(p)
	}
	ld.plans = append(ld.plans, ld.out.Solve...)
	for _, r := range ld.out.Reads {
		ld.reads = append(ld.reads, r.Server)
	}
	ld.replies = append(ld.replies, ld.out.Replies...)
	for _, d := range ld.out.Trace {
		w.note("%s: %s", ld.name, decision(d))
	}
	stop := ld.out.Stop
	ld.out.Reset()
	if stop != nil {
		w.note("%s: stop clean=%t: %s", ld.name, stop.Clean, stop.Reason)
		if w.store.lock == ld {
			w.store.lock, w.store.clean = nil, stop.Clean
		}
		ld.die()
	}
}

func decision(d ledger.Decision) string {
	s := d.What
	if d.Shard != "" {
		s += " " + string(d.Shard)
	}
	if d.Server != "" {
		s += " " + string(d.Server)
	}
	if d.Order != (shard.Order{}) {
		s += " " + d.Order.String()
	}
	if d.Why != "" {
		s += " (" + d.Why + ")"
	}
	return s
}

func (ld *leader) publish(p ledger.Publication) {
	switch {
	case p.Removed:
		delete(ld.maps, p.App)
	case p.Snapshot != nil:
		ld.maps[p.App] = p.Snapshot
	default:
		next, err := ld.maps[p.App].Apply(*p.Delta)
		if err != nil {
			ld.w.broken("map: %v", err)
			return
		}
		ld.maps[p.App] = next
	}
}

// die ends the process: its streams break.
func (ld *leader) die() {
	ld.dead = true
	for _, id := range shard.SortedKeys(ld.conns) {
		ld.conns[id].gone = true
	}
	ld.w.leaders = slices.DeleteFunc(ld.w.leaders, func(o *leader) bool { return o == ld })
}

// work is what a leader's shell does in a step.
func (ld *leader) work() {
	w := ld.w
	if ld.paused || ld.dead {
		return
	}
	if !ld.blind && w.store.lock != ld && w.real-ld.confirmed >= second {
		w.note("%s: the lock is lost", ld.name)
		ld.die()
		return
	}
	if !ld.blind && w.real-ld.confirmed >= second {
		ld.confirmed = w.real
		ld.step(ledger.LockConfirmed{Asked: ld.now()})
		var seen ledger.RegistrationsSeen
		for _, id := range shard.SortedKeys(w.store.keys) {
			seen.Keys = append(seen.Keys, w.store.keys[id])
		}
		ld.step(seen)
	}
	inbox := ld.inbox
	ld.inbox = nil
	for _, ev := range inbox {
		ld.step(ev)
	}
	ld.answerStore()
	plans := ld.plans
	ld.plans = nil
	for _, in := range plans {
		ld.step(ledger.PlanReady{Plan: w.plan(in)})
	}
	if !ld.dead {
		ld.core.Tick(ld.now(), &ld.out)
		ld.perform()
	}
}

func (ld *leader) answerStore() {
	w := ld.w
	reads := ld.reads
	ld.reads = nil
	for _, id := range reads {
		read := ledger.RegistrationRead{Server: id, Asked: ld.now()}
		if ld.blind {
			read.Err = "store away"
		} else {
			read.Key, read.Found = w.store.keys[id]
		}
		ld.step(read)
	}
	if ld.slow {
		return
	}
	writes := ld.writes
	ld.writes = nil
	for _, wr := range writes {
		done := ledger.WriteDone{ID: wr.ID, Outcome: ledger.NotCommitted, Err: "store away"}
		if !ld.blind {
			done.Outcome, done.Err = w.commit(ld, wr)
		}
		ld.step(done)
	}
}

// commit is the store's transaction: all or nothing, guarded by the lock.
func (w *world) commit(ld *leader, wr ledger.Write) (ledger.WriteOutcome, string) {
	st := &w.store
	switch {
	case st.lock != ld:
		return ledger.Superseded, "the lock is lost"
	case st.failing:
		return ledger.NotCommitted, "store full"
	}
	for _, op := range wr.Ops {
		if f, ok := op.(ledger.PutFence); ok {
			key, found := st.keys[f.Fence.Owner.Server]
			if found != (f.Registered != nil) || found && key.Create != f.Registered.Create {
				return ledger.ServerChanged, "key changed"
			}
		}
	}
	st.index++
	for _, op := range wr.Ops {
		w.apply(op)
	}
	return ledger.Committed, ""
}

func (w *world) apply(op ledger.WriteOp) {
	st := &w.store
	switch op := op.(type) {
	case ledger.PutSpec:
		if st.spec == nil {
			st.chunks[0] = make([]ledger.Row, op.Spec.Space.Hash.Shards)
		}
		st.spec = &op.Spec
	case ledger.RemoveApp:
		st.spec = nil
		clear(st.chunks)
		clear(st.quarantines)
		clear(w.history)
	case ledger.PutChunk:
		for i, r := range op.Rows {
			if r.ID != "" {
				w.named[r.ID] = shard.Index(op.Chunk*ledger.ChunkShards + i)
			}
			w.rowWritten(shard.Index(op.Chunk*ledger.ChunkShards+i), r)
		}
		st.chunks[op.Chunk] = op.Rows
	case ledger.PutFence:
		st.fences[op.Fence.Owner.Server] = op.Fence
		if op.Registered != nil && op.Registered.Server.Incarnation == op.Fence.Owner.Incarnation {
			delete(st.keys, op.Fence.Owner.Server)
		}
	case ledger.PutMark:
		st.mark(op.Row)
	case ledger.PutEvent:
		if delete(st.events, op.Row.Event.ID); !op.Row.Gone {
			st.events[op.Row.Event.ID] = op.Row.Event
		}
	case ledger.PutHeard:
		panic("the store never went back, and a leader that holds the lock heard of a later one: " + op.Why)
	case ledger.PutRest:
		st.rests[op.Rest.Owner.Server] = op.Rest
	case ledger.RemoveRest:
		delete(st.rests, op.Server)
	case ledger.PutDrain:
		if delete(st.drains, op.Server); op.On {
			st.drains[op.Server] = true
		}
	}
}

func (st *store) mark(row probation.Row) {
	switch row := row.(type) {
	case probation.PutProbation:
		st.probations[row.Server] = row.Probation
	case probation.RemoveProbation:
		delete(st.probations, row.Server)
	case probation.PutQuarantine:
		st.quarantines[row.Quarantine.Shard] = row.Quarantine
	case probation.RemoveQuarantine:
		delete(st.quarantines, row.Shard)
	}
}

// rowWritten checks that terms and moves only grow, and that every grant has a term of its own.
func (w *world) rowWritten(at shard.Index, r ledger.Row) {
	h := w.history[at]
	if n := len(h); n > 0 {
		old := h[n-1]
		r0, old0 := r, old
		r0.PrimaryMove, old0.PrimaryMove = 0, 0
		r0.MembersTold, old0.MembersTold = 0, 0
		if sameRow(r0, old0) {
			return
		}
		if r.Term < old.Term || r.Move < old.Move {
			w.broken("shard %d: (term, move) went back from %d/%d to %d/%d", at, old.Term, old.Move, r.Term, r.Move)
		}
		if r.Primary != old.Primary && r.Primary.Incarnation != 0 && r.PrimaryTerm <= old.PrimaryTerm {
			w.broken("shard %d: primary changed from %v at %d to %v at %d", at, old.Primary, old.PrimaryTerm, r.Primary, r.PrimaryTerm)
		}
		w.checkHandOn(at, old, r)
		w.checkInSync(at, old, r)
		if old.Open != nil && old.Open.Phase == ledger.Aborting && r.Open != nil && r.Open.Phase != ledger.Aborting {
			w.broken("shard %d: a leader moved forward after an abort", at)
		}
	}
	w.history[at] = append(h, r)
}

func sameRow(a, b ledger.Row) bool {
	x, y := a.Open, b.Open
	if a.Term != b.Term || a.Move != b.Move || a.Primary != b.Primary || a.PrimaryTerm != b.PrimaryTerm || a.PrimaryMove != b.PrimaryMove ||
		!slices.Equal(a.Secondaries, b.Secondaries) || (x == nil) != (y == nil) {
		return false
	}
	return x == nil || *x == *y
}

// checkCommand is promise 2: what a command says was durable before it was sent.
func (w *world) checkCommand(a *agent, c message.Command) {
	at, ok := w.indexOf(c.ID.Shard)
	if !ok {
		w.broken("command for unknown shard %s", c.ID.Shard)
		return
	}
	if w.store.spec.Space.Named && c.ID.Kind == message.DropShard {
		return // of a shard that was deleted: no row says so any more
	}
	to := ledger.Owner{Server: a.id, Incarnation: c.ID.Incarnation}
	covered := slices.ContainsFunc(w.history[at], func(r ledger.Row) bool {
		switch c.ID.Kind {
		case message.AddShard:
			if c.Role == shard.Secondary {
				return slices.ContainsFunc(r.Secondaries, func(s ledger.Secondary) bool { return s.Owner == to && s.Order == c.ID.Order }) ||
					r.Open != nil && r.Open.To == to && r.Open.Phase == ledger.Aborting && r.Move == c.ID.Order.Move
			}
			return r.Primary == to && r.PrimaryTerm == c.ID.Order.Term
		case message.UpdateMembership:
			primary := r.Primary == to && r.PrimaryTerm == c.ID.Order.Term
			target := r.Open != nil && r.Open.To == to && r.Open.Term == c.ID.Order.Term && r.Open.Phase == ledger.Opened
			return (primary || target) && r.MembersMove == c.ID.Order.Move
		case message.PrepareAddShard:
			return r.Open != nil && r.Open.To == to && r.Open.Term == c.ID.Order.Term && r.Open.Move == c.ID.Order.Move
		case message.PrepareDropShard:
			return r.Open != nil && r.Open.From == to && r.Open.Term == c.ID.Order.Term && r.Open.Move == c.ID.Order.Move
		case message.CancelMove:
			return r.Open != nil && r.Open.From == to && r.Open.Term == c.ID.Order.Term && r.Open.Phase == ledger.Aborting
		case message.DropShard:
			return c.ID.Order.Compare(shard.Order{Term: r.Term, Move: r.Move}) <= 0
		}
		return false
	})
	if !covered {
		w.broken("%s %v %s to %v was sent before its row was durable", c.ID.Kind, c.ID.Shard, c.ID.Order, to)
	}
	w.sent = append(w.sent, sent{to, c})
}

// step lets 100 ms pass, with everything that happens by itself.
func (w *world) step() {
	w.real += step
	for _, a := range w.agents {
		a.deliver()
		w.check()
	}
	for _, a := range w.agents {
		a.work()
	}
	for _, ld := range slices.Clone(w.leaders) {
		for _, id := range shard.SortedKeys(ld.conns) {
			ld.collect(ld.conns[id])
		}
		ld.work()
		w.check()
	}
}

// collect takes what arrived on a stream, and notices its end.
func (ld *leader) collect(c *conn) {
	if ld.paused {
		return
	}
	if !c.held || c.gone {
		if !c.gone {
			ld.inbox = append(ld.inbox, c.up...)
			c.up = nil
		} else {
			ld.inbox = append(ld.inbox, ledger.Detached{Stream: c.id, Reset: true})
			delete(ld.conns, c.id)
		}
	}
}

func (w *world) run(d int64) {
	for until := w.real + d; w.real < until; {
		w.step()
	}
}

// onePrimary reports whether promise 1 holds of the app.
func (w *world) onePrimary() bool {
	s := w.store.spec
	return s != nil && s.OnePrimary() && !s.AcceptOverlap
}

// check is promise 1: no two servers may execute for one shard (lease.pml, check()).
func (w *world) check() {
	if !w.onePrimary() {
		return
	}
	for _, id := range w.ids() {
		var who []string
		for _, a := range w.agents {
			if a.executes(id) {
				who = append(who, fmt.Sprintf("%s as %s at %s", a.id, a.shards[id].phase, a.shards[id].max))
			}
		}
		if len(who) > 1 {
			w.broken("shard %s is executed twice: %v", id, who)
		}
	}
}
