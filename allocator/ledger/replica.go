package ledger

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// edit changes the secondaries of a row that is about to be staged, under its next move number.
type edit struct {
	t    *task
	next Row
	why  []Decision
	h    hurried
}

func (t *task) edit() *edit {
	e := &edit{t: t, next: *t.row, h: lazy}
	e.next.Move++
	e.next.Secondaries = slices.Clone(t.row.Secondaries)
	return e
}

// noted keeps the reason of a change, and whether anything waits for it.
func (e *edit) noted(what, why string, of Owner, h hurried) {
	e.why = append(e.why, Decision{What: what, Why: why, Server: of.Server, Incarnation: of.Incarnation})
	if h == urgent {
		e.h = urgent
	}
}

// set gives a secondary another state, under a new order.
func (e *edit) set(o Owner, to SecondaryState, what, why string, h hurried) {
	for i := range e.next.Secondaries {
		s := &e.next.Secondaries[i]
		if s.Owner != o {
			continue
		}
		s.State, s.Order = to, shard.Order{Term: e.next.Term, Move: e.next.Move}
		if to == Leaving {
			s.Replaces = Owner{}
		}
	}
	e.noted(what, why, o, h)
}

// forgetReplaced notes that a newcomer replaces nobody any more.
func (e *edit) forgetReplaced(o Owner) {
	for i := range e.next.Secondaries {
		if e.next.Secondaries[i].Owner == o {
			e.next.Secondaries[i].Replaces = Owner{}
		}
	}
}

// remove takes a secondary out of the row.
func (e *edit) remove(o Owner, what, why string, h hurried) {
	e.next.Secondaries = slices.DeleteFunc(e.next.Secondaries, func(s Secondary) bool { return s.Owner == o })
	e.noted(what, why, o, h)
}

// join adds a newcomer, unless it has the shard already or is about to.
func (e *edit) join(o, replaces Owner, why string) {
	if slices.Contains(e.next.Owners(), o) {
		return
	}
	if e.next.Term == 0 {
		e.next.Term = e.t.nextTerm(0) // orders need one, also where nobody is primary
	}
	e.next.Secondaries = append(e.next.Secondaries, Secondary{Owner: o, State: Joining, Replaces: replaces,
		Order: shard.Order{Term: e.next.Term, Move: e.next.Move}})
	e.noted("secondary added", why, o, lazy)
}

// stage stores what changed, if anything did.
func (e *edit) stage() bool {
	if len(e.why) == 0 {
		return false
	}
	e.t.stageSecondaries(e.next, e.h, e.why[0])
	for _, d := range e.why[1:] {
		d.App, d.Shard, d.Order = e.t.a.spec.Name, e.t.a.id(e.t.at), shard.Order{Term: e.next.Term, Move: e.next.Move}
		e.t.trace(d)
	}
	return true
}

// stageSecondaries stages a row whose secondaries may have changed: the primary learns of those that concern it.
func (t *task) stageSecondaries(next Row, h hurried, d Decision) {
	if !t.row.SameMembers(&next) {
		next.MembersMove = next.Move
	}
	t.stage(t.a, t.at, next, h, d)
}

// loseSecondaries stages a row without the secondaries that are over or being fenced: nobody waits for them any more, and they never
// come back. It reports whether it did.
func (t *task) loseSecondaries() bool {
	if len(t.row.Secondaries) == 0 {
		return false
	}
	e := t.edit()
	for _, s := range t.row.Secondaries {
		if f := t.known(s.Owner); f.gone() || !f.alive() {
			e.remove(s.Owner, "secondary lost", f.whyGone(), urgent)
		}
	}
	return e.stage()
}

// vacant is a shard whose primary is gone, with everybody stopped who must be (PROTOCOL R11). While a secondary is in sync, it and nobody
// else has every acknowledged write, so the next primary is one of those. Where none is left, a newcomer has as much as anybody; without
// one, the shard is placed anew.
func (t *task) vacant() {
	if !t.a.spec.Replication.Primaries() {
		return
	}
	if why := t.keeper.Quarantined(t.a.spec.Name, t.at); why != "" {
		t.a.clearUnplaced(t.at)
		t.w.waits = "the end of its quarantine: " + why
		return
	}
	best, waiting := t.fittest(InSync)
	why := "in sync when the primary was lost"
	if best == nil && !waiting {
		why = "nobody in sync is left"
		if best, _ = t.fittest(Syncing); best == nil {
			best, _ = t.fittest(Joining)
		}
	}
	switch {
	case best != nil:
		t.grant(best, placement.Failover, urgent, why)
	case waiting:
		t.w.waits = "a secondary that is in sync to come back"
	default:
		t.grantable()
	}
}

// fittest is the secondary in a state that should become primary; nil: none can now. waiting: one is not over, and may come back.
func (t *task) fittest(state SecondaryState) (best *life, waiting bool) {
	for _, s := range t.row.Secondaries {
		f := t.known(s.Owner)
		if s.State != state || f.gone() {
			continue
		}
		waiting = true
		if f.alive() && f.attached() && !f.resting && (best == nil || t.fitter(f, best)) {
			best = f
		}
	}
	return best, waiting
}

// fitter prefers a server that is not suspected, not draining, and has fewer primaries; the row's order breaks ties.
func (t *task) fitter(f, than *life) bool {
	if f.suspicion.suspect != than.suspicion.suspect {
		return !f.suspicion.suspect
	}
	if f.leaves() != than.leaves() {
		return !f.leaves()
	}
	return f.owned < than.owned
}

// secondaries brings every secondary to where it should be: newcomers take the shard on, the primary brings them up to date, and whoever
// leaves is first taken out of the membership, then drops. Joins stand still while a move of the primary is open.
func (t *task) secondaries() {
	if len(t.row.Secondaries) == 0 && t.row.MembersMove == 0 || t.pending() {
		return
	}
	told := t.tellMembers()
	if t.pending() {
		return
	}
	e := t.edit()
	for i := range t.row.Secondaries {
		s := &t.row.Secondaries[i]
		f := t.known(s.Owner)
		switch s.State {
		case Joining:
			t.joining(e, s, f)
		case Syncing:
			if told && t.row.Open == nil {
				t.inSync(e, s)
			}
		case InSync:
			if slices.Contains(t.w.astray, acknowledgement{s.Owner, s.Order}) {
				t.command(f, purpose.Join, s.Order)
			}
		case Leaving:
			t.leaving(e, s, f, told)
		}
		if t.row.Open == nil && slices.Contains(t.w.lapsed, acknowledgement{s.Owner, s.Order}) {
			t.lapse(e, s)
		}
	}
	e.stage()
}

// lapse gives a secondary that is not in the state that its row says a new order: it takes the shard on, or drops it, once more.
func (t *task) lapse(e *edit, s *Secondary) {
	to := Joining
	if s.State == Leaving {
		to = Leaving
	}
	e.set(s.Owner, to, "secondary told again", "it is not in the state that was decided", urgent)
}

func (t *task) pending() bool {
	_, pending := t.a.staged[t.at]
	return pending
}

// joining asks a newcomer to take the shard on. It is the primary's to bring it up to date; without primaries it serves at once.
func (t *task) joining(e *edit, s *Secondary, f *life) {
	if t.row.Open != nil {
		return
	}
	if t.a.spec.Replication.Primaries() && (!t.w.served || t.known(t.row.Primary).gone()) {
		t.w.waits = "a primary to follow"
		return
	}
	if !t.w.acknowledgedBy(s.Owner, s.Order) {
		c := t.command(f, purpose.Join, s.Order)
		if c.fails >= attemptsMost || t.stubborn(f, c.since) {
			t.avoid(s.Owner)
			e.set(s.Owner, Leaving, "secondary given up", "it cannot take the shard on: "+c.err, lazy)
		}
		return
	}
	if !t.a.spec.Replication.Primaries() {
		t.inSync(e, s)
		return
	}
	if slices.ContainsFunc(e.next.Secondaries, func(s Secondary) bool { return s.State == Syncing }) {
		t.w.waits = "another newcomer, which is brought up to date first" // one that cannot be must not cost the others their place
		return
	}
	e.set(s.Owner, Syncing, "secondary joined", "it holds the shard; the primary brings it up to date", urgent)
}

// inSync notes that a newcomer has everything. Whom it replaces goes: a secondary leaves with the same change; the primary hands over.
func (t *task) inSync(e *edit, s *Secondary) {
	why := "it has everything, and gets every write"
	if !t.a.spec.Replication.Primaries() {
		why = "it took the shard on"
	}
	e.set(s.Owner, InSync, "secondary in sync", why, urgent)
	t.keeper.Served(t.now, t.a.charge(t.at, shard.Secondary))
	t.joinDone(s)
	if s.Replaces == t.row.Primary {
		return // it hands over: switchOver
	}
	e.forgetReplaced(s.Owner)
	if t.row.SecondaryOf(s.Replaces) != nil {
		e.set(s.Replaces, Leaving, "secondary replaced", "by "+string(s.Owner.Server), lazy)
	}
}

// switchOver opens the move that a newcomer which replaces the primary was brought for.
func (t *task) switchOver() {
	if t.row.Open != nil || t.pending() || !t.w.settled() {
		return
	}
	owner := t.known(t.row.Primary)
	for _, s := range t.row.Secondaries {
		if !t.row.Heir(&s) {
			continue
		}
		if to := t.known(s.Owner); owner.attached() && owner.alive() && to.attached() && to.alive() {
			t.open(owner, to, t.w.reasonOr(placement.Balance), "in sync, in its place", false)
			return
		}
	}
}

// leaving takes a secondary away once the primary waits for it no longer.
func (t *task) leaving(e *edit, s *Secondary, f *life, told bool) {
	if t.a.spec.Replication.Primaries() && !told && !t.known(t.row.Primary).gone() {
		return
	}
	if t.w.acknowledgedBy(s.Owner, s.Order) {
		e.remove(s.Owner, "secondary dropped", "it dropped the shard", lazy)
		return
	}
	c := t.command(f, purpose.Leave, s.Order)
	if t.stubborn(f, c.since) {
		t.fence(f, "it does not drop shard "+string(t.a.id(t.at))+" as a secondary")
	}
}

// secondariesAtRest reports whether nothing is to be done about them.
func (t *task) secondariesAtRest() bool {
	if len(t.w.astray) > 0 {
		return false
	}
	for i := range t.row.Secondaries {
		if s := &t.row.Secondaries[i]; s.State != InSync || s.Replaces.Incarnation != 0 {
			return false
		}
	}
	if t.row.MembersMove == 0 || !t.a.spec.Replication.Primaries() || t.known(t.row.Primary).gone() {
		return true
	}
	return t.row.MembersTold == t.row.MembersMove
}

// acknowledgement is an answer that a secondary gave to the command of its present state.
type acknowledgement struct {
	by    Owner
	order shard.Order
}

func (w *work) acknowledge(ack acknowledgement) {
	w.acks = append(w.acks, ack)
	w.astray = slices.DeleteFunc(w.astray, func(a acknowledgement) bool { return a == ack })
}

func (w *work) acknowledgedBy(o Owner, order shard.Order) bool {
	return slices.Contains(w.acks, acknowledgement{o, order})
}

// countJoins keeps the number of changes under way.
func (l *Ledger) countJoins(a *app, r *Row, by int) {
	for _, ends := range r.Comings() {
		l.countMove(a, ends, by)
	}
}

// secondariesStored follows a durable change of secondaries: who counts what, and what routers see.
func (l *Ledger) secondariesStored(a *app, at shard.Index, old, row *Row) {
	for i := range old.Secondaries {
		if f := l.known(old.Secondaries[i].Owner); f != nil {
			f.seconded--
		}
	}
	for i := range row.Secondaries {
		if f := l.known(row.Secondaries[i].Owner); f != nil {
			f.seconded++
		}
	}
	l.publishSecondaries(a, at)
	if len(row.Secondaries) < len(old.Secondaries) {
		a.plan.Want(l.now, solveSoon)
	} else {
		a.plan.Want(l.now, timing.SolvePause) // one more in sync may let another go
	}
}
