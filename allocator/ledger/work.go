package ledger

import (
	"cmp"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// work is what this leader knows, beyond the durable row, about a shard that is not at rest: a grant that is not acknowledged, an open
// move, or somebody who holds it without reason. It always speaks of the durable row, never of a staged one. All of it can be learnt
// again, so a new leader starts without.
type work struct {
	served bool // the primary acknowledged its grant
	idle   bool // the primary said that it does not serve: it needs a new term
	regain shard.Instant
	gains  int // regrants in a row

	prepared bool   // Open.To acknowledged PrepareAddShard
	handed   bool   // Open.From acknowledged PrepareDropShard
	stopped  bool   // Open.To acknowledged DropShard of the abort
	cancel   Status // Open.From's answer to CancelMove: NotBegun, Begun or 0
	mayHand  bool   // PrepareDropShard may have been sent
	dropped  bool   // Open.From acknowledged DropShard after the linger
	giveUp   string // why the move is to be aborted; empty: it is not

	takeAway bool // the primary cannot add it: it stops, then another gets it
	returned bool // it acknowledged that

	lastAbort string // why the last move was aborted

	acks   []acknowledgement // of secondaries
	lapsed []acknowledgement // secondaries that turned out not to be in the state of that order
	astray []acknowledgement // secondaries in sync that forward for a move which is over: they are told what they are, by that order

	strays []*life // hold it although no row says so
	calls  []*call

	reason    placement.Reason
	from      shard.ServerID
	began     shard.Instant // zero: another leader did
	lastHeard shard.Instant // of the primary that was lost, until another serves; zero: none was, or not by this leader
	failures  int
	waits     string        // what it waits for, for people
	linger    shard.Instant // since when the source only forwards

	step      report.MoveStep // as last noted, for people
	stepSince shard.Instant
}

// settledWork makes work for a shard whose primary, if there is one, serves.
func (l *Ledger) settledWork(a *app, at shard.Index) *work {
	w := a.work[at]
	if w == nil {
		w = l.workOf(a, at)
		w.served = true
	}
	return w
}

// settled reports whether the primary of a shard without an open move serves: what strays still have to drop keeps nobody waiting.
func (w *work) settled() bool { return w == nil || w.served && !w.takeAway }

func (l *Ledger) workOf(a *app, at shard.Index) *work {
	w := a.work[at]
	if w == nil {
		w = &work{served: !a.spec.Replication.Primaries()}
		a.work[at] = w
	}
	return w
}

// tickWork lets time pass for shards that are not at rest, of each app for so many that a tick stays short.
func (l *Ledger) tickWork() {
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		for _, at := range timing.Turn(&a.turns, a.work, turnMost) {
			l.advance(a, at)
		}
	}
}

// advanceAll lets all shards that name an incarnation go on.
func (l *Ledger) advanceAll(f *life) {
	if a := l.apps[f.app]; a != nil {
		for _, at := range shard.SortedKeys(f.refs) {
			l.advance(a, at)
		}
	}
}

// advance does what is due for a shard, by its durable row and what is known: it may be called at any time, any number of times. While
// a change of the row is not durable, nothing is due.
func (l *Ledger) advance(a *app, at shard.Index) {
	if _, pending := a.staged[at]; pending || a.removed {
		return
	}
	if a.hole(at) {
		delete(a.work, at) // of a shard that was deleted
		return
	}
	row := &a.rows[at]
	w := a.work[at]
	if w == nil {
		w = l.wake(a, at, row)
		if w == nil {
			return
		}
	}
	for _, c := range w.calls {
		c.due = false
	}
	w.waits = ""
	t := task{l, a, at, row, w}
	switch {
	case row.Deleting:
		t.deleting()
	case t.loseSecondaries():
	case row.Open == nil:
		t.rest()
	case row.Open.Phase == Opened:
		t.opened()
	case row.Open.Phase == Aborting:
		t.aborting()
	case row.Open.Phase == Moved:
		t.moved()
	}
	if !row.Deleting {
		t.secondaries()
		t.switchOver()
	}
	t.dropStrays()
	w.calls = slices.DeleteFunc(w.calls, func(c *call) bool {
		c.open = c.open && c.due
		return !c.due
	})
	l.noteStep(a, at)
	if !t.pending() && t.atRest() {
		delete(a.work, at)
	}
}

// wake makes work for a row that needs it; nil where it is at rest or only waits for placement.
func (l *Ledger) wake(a *app, at shard.Index, row *Row) *work {
	if row.Deleting {
		return l.settledWork(a, at)
	}
	if row.Open != nil {
		return l.workOf(a, at)
	}
	if l.disturbed(row) {
		return l.settledWork(a, at)
	}
	if owner := l.known(row.Primary); owner.gone() && a.spec.Replication.Primaries() {
		if len(row.Secondaries) > 0 {
			return l.settledWork(a, at)
		}
		if l.keeper.Quarantined(a.spec.Name, at) != "" {
			return nil
		}
		a.setUnplaced(at, row.Term > 0)
	}
	return nil
}

// disturbed reports whether something is to be done about the secondaries of a row.
func (l *Ledger) disturbed(row *Row) bool {
	for i := range row.Secondaries {
		s := &row.Secondaries[i]
		if f := l.known(s.Owner); s.State != InSync || s.Replaces.Incarnation != 0 || f.gone() || !f.alive() {
			return true
		}
	}
	return false
}

// task is one shard in one call of advance.
type task struct {
	*Ledger
	a   *app
	at  shard.Index
	row *Row
	w   *work
}

func (t *task) atRest() bool {
	gone := t.known(t.row.Primary).gone() // then a secondary may be waited for
	return !t.row.Deleting && t.row.Open == nil && len(t.w.strays) == 0 && t.secondariesAtRest() &&
		(t.w.served && !t.w.takeAway && !gone || gone && len(t.row.Secondaries) == 0 || !t.a.spec.Replication.Primaries())
}

// mayGrant is the grant rule (PROTOCOL R11) for a new owner: the primary is over or stopped, and so is the target of an open move; the
// source of a move past row 4 was when that row was written.
func (t *task) mayGrant() bool {
	if !t.known(t.row.Primary).gone() {
		return false
	}
	m := t.row.Open
	return m == nil || m.Phase == Moved || m.Phase == Aborting && (t.w != nil && t.w.stopped || t.known(m.To).gone())
}

// grantable says that every incarnation that a durable row allowed to execute the shard is over or has stopped (PROTOCOL R11).
func (t *task) grantable() {
	t.a.setUnplaced(t.at, t.row.Term > 0)
	t.w.waits = "a server to go to"
}

// rest is a shard without an open move.
func (t *task) rest() {
	if !t.a.spec.Replication.Primaries() {
		return
	}
	owner := t.known(t.row.Primary)
	if owner.gone() {
		t.vacant()
		return
	}
	t.primary(owner)
}

// primary brings the durable primary to serve. It reports whether it does.
func (t *task) primary(owner *life) bool {
	w, row := t.w, t.row
	switch {
	case w.takeAway && w.returned:
		t.giveBack(owner)
	case w.takeAway:
		t.command(owner, purpose.TakeAway, shard.Order{Term: row.Term, Move: row.Move})
	case w.served:
		return true
	case w.idle || row.PrimaryMove == 0:
		t.regrant(owner)
	default:
		t.command(owner, purpose.Grant, shard.Order{Term: row.PrimaryTerm, Move: row.PrimaryMove})
	}
	return false
}

// giveBack stores that the primary acknowledged a stop: the shard has no owner.
func (t *task) giveBack(owner *life) {
	next := *t.row
	next.Move++
	next.Primary, next.PrimaryTerm, next.PrimaryMove = Owner{}, 0, 0
	t.closeMove(&next)
	t.avoid(owner.Owner)
	t.stage(t.a, t.at, next, urgent, Decision{What: "shard given back", Server: owner.Server, Incarnation: owner.Incarnation,
		Why: "its callbacks failed there, and it stopped"})
}

// regrant gives the shard to its owner anew (PROTOCOL R9, R11), which may have dropped what it had: not while a secondary is in sync.
func (t *task) regrant(owner *life) {
	if heir, waiting := t.fittest(InSync); waiting {
		t.w.takeAway, t.w.waits = heir != nil, "a secondary that is in sync"
		return
	}
	if !owner.attached() || !owner.alive() || !t.w.regain.Passed(t.now) {
		t.w.waits = "its owner"
		return
	}
	t.w.gains++
	t.w.regain = t.now.Add(timing.Backoff(t.w.gains))
	t.grant(owner, t.w.reasonOr(placement.Failover), urgent, "its owner lives and does not serve it")
}

// grant stages the primary role at a new term. The caller made sure of the grant rule.
func (t *task) grant(to *life, reason placement.Reason, h hurried, why string) {
	next := *t.row
	next.Term, next.Move = t.nextTerm(next.Term), next.Move+1
	next.Primary, next.PrimaryTerm, next.PrimaryMove = to.Owner, next.Term, next.Move
	next.UnderNewPrimary()
	w := t.workOf(t.a, t.at)
	t.w = w
	w.from = ""
	if old := t.row.Primary; old != to.Owner {
		w.from = old.Server
		if f := t.known(old); f != nil && f.renewed && w.lastHeard.IsZero() { // else its successor was lost, too
			w.lastHeard = f.heard
		}
	}
	t.closeMove(&next)
	w.reason, w.began, w.failures = reason, t.now, 0
	t.stage(t.a, t.at, next, h, Decision{What: "granted", Server: to.Server, Incarnation: to.Incarnation, Why: why})
}

// nextTerm is the term of the next grant. A shard that never had one may be of an app that was deleted and created again, and its storage
// may remember terms: they grew by at most one a write, and so does the store's index, so all of them are at or below the index of our
// epoch, or were seen by this leader.
func (l *Ledger) nextTerm(t shard.Term) shard.Term {
	if t == 0 {
		t = l.usedTerm()
	}
	return t.Next(l.epoch.Generation)
}

// usedTerm is at or above every term that a shard which is there no more was ever granted.
func (l *Ledger) usedTerm() shard.Term {
	return max(l.deletedTerm, shard.FirstTerm(l.epoch.Generation)+shard.Term(l.epoch.Index))
}

// closeMove ends an open move in a row; who may still hold the shard is told to drop it.
func (t *task) closeMove(next *Row) {
	if m := next.Open; m != nil {
		for _, o := range []Owner{m.From, m.To} {
			if f := t.known(o); !f.gone() && o != next.Primary && next.SecondaryOf(o) == nil && !(o == m.To && t.w.stopped) {
				t.w.addStray(f)
			}
		}
	}
	t.leftForwarding(next)
	next.Open = nil
}

// leftForwarding is for the source of a move past row 4 that ends before the source was told to step back: it is a secondary by its row, in
// sync, and forwards to a target that is no primary any more. It gets a new order, to be told what it is.
func (t *task) leftForwarding(next *Row) {
	m := next.Open
	if m == nil || m.Phase != Moved || next.SecondaryOf(m.From) == nil || m.From == next.Primary {
		return
	}
	next.Secondaries = slices.Clone(next.Secondaries)
	if s := next.SecondaryOf(m.From); s.State == InSync {
		s.Order = shard.Order{Term: next.Term, Move: next.Move}
		t.w.astray = append(t.w.astray, acknowledgement{s.Owner, s.Order})
	}
}

func (w *work) reasonOr(r placement.Reason) placement.Reason { return cmp.Or(w.reason, r) }

// rowChanged forgets what was known about a grant or a move that the durable row no longer has.
func (w *work) rowChanged(old, row *Row) {
	if old.Primary != row.Primary || old.PrimaryTerm != row.PrimaryTerm {
		w.served, w.idle, w.takeAway, w.returned = false, false, false, false
	}
	outdated := func(ack acknowledgement) bool {
		if row.Deleting {
			return false
		}
		s := row.SecondaryOf(ack.by)
		return s == nil || s.Order != ack.order
	}
	w.acks, w.lapsed = slices.DeleteFunc(w.acks, outdated), slices.DeleteFunc(w.lapsed, outdated)
	w.astray = slices.DeleteFunc(w.astray, outdated)
	if old.Open != nil && (row.Open == nil || row.Open.Move != old.Open.Move) {
		w.prepared, w.handed, w.stopped, w.cancel, w.mayHand, w.dropped, w.giveUp = false, false, false, 0, false, false, ""
		w.linger = shard.Instant{}
	}
}

func (w *work) addStray(f *life) {
	if !slices.Contains(w.strays, f) {
		w.strays = append(w.strays, f)
	}
}

// dropStrays tells whoever holds the shard without reason to drop it. The order is the row's: all that it ever obeyed is at or below.
func (t *task) dropStrays() {
	if t.pending() || len(t.w.strays) == 0 {
		return
	}
	named := t.row.Owners()
	t.w.strays = slices.DeleteFunc(t.w.strays, func(f *life) bool { return f.over || slices.Contains(named, f.Owner) })
	for _, f := range t.w.strays {
		t.command(f, purpose.Stray, shard.Order{Term: t.row.Term, Move: t.row.Move})
	}
}
