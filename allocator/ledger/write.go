package ledger

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// pen gathers what is to be stored; one write is under way at a time. What is staged stays staged until it is durable: a write that
// failed is made again from what is staged then, so no intent is lost.
type pen struct {
	last   WriteID
	flight *flight

	hurry     bool          // somebody waits: do not gather
	lazySince shard.Instant // oldest staged change that nobody waits for; zero: none
	retryAt   shard.Instant
	fails     int

	heard  *PutHeard // nil: nothing of a later leader
	fences []*life
	rests  []restWish
	wish   *wishJob
	urgent []chunkKey // with changes that somebody waits for; in the order of staging
	lazy   []chunkKey
}

// flight is a write under way.
type flight struct {
	id     WriteID
	heard  *PutHeard
	fences []*life
	rests  []restWish
	wish   *wishJob
	small  []probation.Row
	events []maintenance.Row
	chunks []chunkFlight
}

type chunkKey struct {
	app   *app
	chunk int
}

type chunkFlight struct {
	chunkKey
	rows []shard.Index // whose staged rows are in the write
}

// restWish is a rest to be recorded and then granted, or a record to be removed.
type restWish struct {
	life     *life
	remove   bool
	stream   StreamID
	sequence uint64
	length   time.Duration // to grant
	record   time.Duration // to store
}

func (l *Ledger) queueFence(f *life) {
	l.pen.fences = append(l.pen.fences, f)
	l.pen.hurry = true
}

// hurried says whether somebody waits for a change.
type hurried bool

const (
	urgent hurried = true
	lazy   hurried = false
)

// stage prepares a shard's next row. Nothing follows from it before it is durable.
func (l *Ledger) stage(a *app, at shard.Index, row Row, h hurried, d Decision) {
	if invariant.Enabled {
		l.checkChange(a, at, &row)
	}
	old := &a.rows[at]
	a.staged[at] = row
	a.clearUnplaced(at)
	if w := a.work[at]; w != nil {
		// Answers to what the old row asked say nothing about the new one, but for those that a secondary's own order decides.
		w.calls = slices.DeleteFunc(w.calls, func(c *call) bool { return !c.purpose.OfSecondaries() })
	}
	for _, o := range row.Owners() {
		if f := l.known(o); f != nil {
			f.refs[at] = struct{}{}
		}
	}
	if old.Open == nil && row.Open != nil {
		l.countMove(a, row.Open.Ends(), 1)
	}
	l.countJoins(a, old, -1)
	l.countJoins(a, &row, 1)
	key := chunkKey{a, int(at) / ChunkShards}
	a.stagedIn[key.chunk] = append(a.stagedIn[key.chunk], at)
	if h == urgent {
		l.pen.urgent, l.pen.hurry = append(l.pen.urgent, key), true
	} else {
		l.pen.lazy = append(l.pen.lazy, key)
		if l.pen.lazySince.IsZero() {
			l.pen.lazySince = l.now
		}
	}
	l.noteStep(a, at)
	d.App, d.Shard, d.Order = a.spec.Name, a.id(at), shard.Order{Term: row.Term, Move: row.Move}
	l.trace(d)
}

// countMove counts a change at both its ends.
func (l *Ledger) countMove(a *app, ends [2]Owner, by int) {
	a.moves += by
	for _, o := range ends {
		if f := l.known(o); f != nil {
			f.moves += by
		}
	}
}

// flush emits the next write if none is under way and it is time.
func (l *Ledger) flush() {
	p := &l.pen
	if p.flight != nil || !p.retryAt.Passed(l.now) {
		return
	}
	if !p.hurry && (p.lazySince.IsZero() || !l.after(p.lazySince, l.s.BatchTick)) && !p.removals() && !l.keeper.Waiting() && !l.events.Waiting() {
		return
	}
	f := &flight{id: p.last + 1}
	var ops []WriteOp
	if f.heard = p.heard; f.heard != nil { // the last word: nothing else is right any more
		ops = append(ops, *f.heard)
	} else if ops = l.fenceOps(f); len(ops) == 0 {
		ops = l.otherOps(f)
	}
	p.hurry = len(p.fences)+len(p.rests)+len(p.urgent) > 0 || p.wish != nil
	if len(ops) == 0 {
		p.lazySince = shard.Instant{}
		return
	}
	p.last, p.flight = f.id, f
	l.out.Writes = append(l.out.Writes, Write{ID: f.id, Ops: ops})
}

// removals reports whether records of rests wait to be removed.
func (p *pen) removals() bool { return len(p.rests) > 0 }

// fenceOps makes a write of fences alone: if the key of one is not as known, nothing else has to be made again. A fence is two
// operations, on the key and on the record, and a probation's row comes with it.
func (l *Ledger) fenceOps(f *flight) []WriteOp {
	var ops []WriteOp
	p := &l.pen
	for len(p.fences) > 0 && 3*len(f.fences)+3 <= l.s.MaxWriteOps {
		who := p.fences[0]
		p.fences = p.fences[1:]
		if who.over || slices.Contains(f.fences, who) {
			continue
		}
		f.fences = append(f.fences, who)
		op := PutFence{Fence: Fence{Owner: who.Owner, Reason: who.why}}
		who.session = ""
		if who.server.key != nil {
			key := *who.server.key
			if op.Registered = &key; key.Server.Incarnation == who.Incarnation {
				who.session = key.Session
			}
		}
		ops = append(append(ops, op), l.countFence(who)...)
	}
	return ops
}

func (l *Ledger) otherOps(f *flight) []WriteOp {
	var ops []WriteOp
	p := &l.pen
	f.small = l.keeper.Take(l.now, l.s.MaxWriteOps/2)
	for _, row := range f.small { // before a wish: it may be to take one back
		ops = append(ops, PutMark{row})
	}
	f.events = l.events.Take(l.now, l.s.MaxWriteOps/4)
	for _, row := range f.events {
		ops = append(ops, PutEvent{row})
	}
	if p.wish != nil {
		f.wish, p.wish = p.wish, nil
		ops = append(ops, f.wish.op)
	}
	for len(p.rests) > 0 && len(ops) < l.s.MaxWriteOps {
		w := p.rests[0]
		p.rests = p.rests[1:]
		if w.remove && !l.removable(f, w.life) {
			continue
		}
		f.rests = append(f.rests, w)
		if w.remove {
			ops = append(ops, RemoveRest{Server: w.life.Server})
		} else {
			ops = append(ops, PutRest{Rest: Rest{Owner: w.life.Owner, Length: w.record}})
		}
	}
	bytes := 0
	ops, bytes = l.chunkOps(f, ops, bytes, &p.urgent)
	ops, _ = l.chunkOps(f, ops, bytes, &p.lazy)
	if len(p.lazy) == 0 {
		p.lazySince = shard.Instant{}
	}
	return ops
}

// removable reports whether the record of a rest may still go: its time may have been extended since that was decided, and the server has
// one record only, which may be another incarnation's by now.
func (l *Ledger) removable(f *flight, of *life) bool {
	for _, other := range of.server.lives {
		if other != of && other.restLength > 0 {
			of.restLength = 0 // overwritten
			return false
		}
	}
	for _, w := range slices.Concat(f.rests, l.pen.rests) {
		if !w.remove && w.life.Server == of.Server {
			of.restRemoved = false // looked at again after that
			return false
		}
	}
	if !of.over && !of.rest.Passed(l.now) {
		of.restRemoved = false
		return false
	}
	return true
}

// chunkOps adds whole chunks while they fit; a batch is split only between chunks (PROTOCOL R24).
func (l *Ledger) chunkOps(f *flight, ops []WriteOp, bytes int, queue *[]chunkKey) ([]WriteOp, int) {
	for len(*queue) > 0 && len(ops) < l.s.MaxWriteOps {
		key := (*queue)[0]
		rows := key.app.stagedIn[key.chunk]
		if len(rows) == 0 || key.app.removed {
			*queue = (*queue)[1:]
			continue
		}
		chunk := key.app.chunkRows(key.chunk)
		if bytes > 0 && bytes+len(chunk)*rowBytes > writeBytesMost {
			break
		}
		bytes += len(chunk) * rowBytes
		*queue = (*queue)[1:]
		delete(key.app.stagedIn, key.chunk)
		f.chunks = append(f.chunks, chunkFlight{key, rows})
		ops = append(ops, PutChunk{App: key.app.spec.Name, Chunk: key.chunk, Rows: chunk})
	}
	return ops, bytes
}

// writeDone takes the decided outcome of the write under way.
func (l *Ledger) writeDone(ev WriteDone) {
	p := &l.pen
	f := p.flight
	if f == nil || ev.ID != f.id {
		return
	}
	p.flight = nil
	switch ev.Outcome {
	case Committed:
		p.fails = 0
		l.committed(f)
	case Superseded:
		l.trace(Decision{What: "superseded", Why: ev.Err})
		l.stop(false, "superseded: "+ev.Err)
	case ServerChanged:
		l.requeue(f)
		if len(f.fences) == 0 {
			l.retryLater(ev.Err)
			return
		}
		for _, who := range f.fences {
			who.reread = true
			l.wantKey(who.server)
		}
		p.fences = slices.DeleteFunc(p.fences, func(who *life) bool { return who.reread })
	case NotCommitted:
		l.requeue(f)
		l.retryLater(ev.Err)
	}
}

func (l *Ledger) retryLater(why string) {
	l.pen.fails++
	l.pen.retryAt = l.now.Add(timing.Backoff(l.pen.fails))
	l.trace(Decision{What: "write failed", Why: why})
}

// requeue stages again what a failed write held, before everything that came later.
func (l *Ledger) requeue(f *flight) {
	p := &l.pen
	p.fences = append(f.fences, p.fences...)
	p.rests = append(f.rests, p.rests...)
	l.keeper.Return(f.small)
	l.events.Return(f.events)
	if f.wish != nil {
		p.wish = f.wish
	}
	var keys []chunkKey
	for _, c := range f.chunks {
		c.app.stagedIn[c.chunk] = append(c.rows, c.app.stagedIn[c.chunk]...)
		keys = append(keys, c.chunkKey)
	}
	p.urgent = append(keys, p.urgent...)
	p.hurry = true
}

// committed makes staged rows durable, then lets everything follow that waited for them.
func (l *Ledger) committed(f *flight) {
	if f.heard != nil {
		l.stop(l.ownWaitOver(), "the store went back in time: "+f.heard.Why)
		return
	}
	for _, who := range f.fences {
		l.fenceStored(who)
	}
	for _, w := range f.rests {
		l.restStored(w)
	}
	if f.wish != nil {
		l.wishStored(f.wish)
	}
	l.eventsStored(f.events)
	for _, c := range f.chunks {
		for _, at := range c.rows {
			l.rowStored(c.app, at)
		}
		for _, at := range c.rows {
			l.advance(c.app, at)
		}
	}
}

// rowStored makes one staged row the durable one.
func (l *Ledger) rowStored(a *app, at shard.Index) {
	old, row := a.rows[at], a.staged[at]
	delete(a.staged, at)
	if row.PrimaryTerm == old.PrimaryTerm {
		row.MembersTold = max(row.MembersTold, old.MembersTold) // it may have answered meanwhile
	}
	a.rows[at] = row
	if w := a.work[at]; w != nil {
		w.rowChanged(&old, &row)
	}
	l.answerAll(a.askers[at])
	delete(a.askers, at)
	if old.Open != nil && row.Open == nil {
		l.countMove(a, old.Open.Ends(), -1)
		l.moveClosed(a, at, old.Open)
	}
	named := row.Owners()
	for _, o := range old.Owners() {
		if f := l.known(o); f != nil && !slices.Contains(named, o) {
			delete(f.refs, at)
		}
	}
	if f := l.known(old.Primary); f != nil {
		f.owned--
	}
	if f := l.known(row.Primary); f != nil {
		f.owned++
	}
	if !slices.Equal(old.Secondaries, row.Secondaries) {
		l.secondariesStored(a, at, &old, &row)
	}
	if a.spec.Space.Named {
		l.namesStored(a, at, &old, &row)
	}
	for _, o := range old.Owners() {
		if f := l.known(o); f != nil && f.over && len(f.refs) == 0 {
			l.forget(f.server)
		}
	}
}
