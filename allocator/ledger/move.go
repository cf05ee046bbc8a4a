package ledger

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/purpose"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// open stages row 1 of a move: a term is reserved for the target. The caller checked owner, target and caps. stays: the source becomes
// a secondary.
func (t *task) open(from, to *life, reason placement.Reason, why string, stays bool) {
	next := *t.row
	next.Term, next.Move = t.nextTerm(next.Term), next.Move+1
	next.Open = &OpenMove{Move: next.Move, Term: next.Term, From: from.Owner, To: to.Owner, Reason: reason, Phase: Opened, Stays: stays}
	w := t.workOf(t.a, t.at)
	w.served, w.reason, w.from, w.began, w.lastHeard, w.failures = true, reason, from.Server, t.now, shard.Instant{}, 0
	t.stage(t.a, t.at, next, urgent, Decision{What: "move opened", Server: to.Server, Incarnation: to.Incarnation, Why: why})
}

// avoid keeps the shard away for a while from a server that failed it, so that the next plan tries another.
func (t *task) avoid(o Owner) { t.a.avoid.Keep(t.at, o.Server, t.now.Add(avoidFor)) }

// opened is rows 2 to 4: load at the target, hand over at the source, then the point of no return. Forward needs the target prepared
// and the source stopped or over; back is a durable decision (PROTOCOL R10).
func (t *task) opened() {
	m, w := t.row.Open, t.w
	from, to := t.known(m.From), t.known(m.To)
	switch {
	case to.gone() || !to.alive():
		t.abort("the target is lost: " + to.whyGone())
	case w.giveUp != "":
		t.abort(w.giveUp)
	case w.handed:
		t.takeOver("the source handed over")
	case w.prepared && from.gone():
		t.takeOver("the target is prepared and the source is over: " + from.whyGone())
	case !w.prepared:
		c := t.command(to, purpose.PrepareAdd, m.Order())
		limit := t.s.LoadDeadline + answerSlack
		if !to.attached() {
			limit = t.s.StepDeadline
		}
		if c.fails >= attemptsMost {
			t.avoid(m.To)
			t.abort("PrepareAddShard failed: " + c.err)
		} else if t.after(c.since, limit) {
			t.avoid(m.To)
			t.abort("PrepareAddShard passed its deadline")
		}
	default:
		c := t.command(from, purpose.PrepareDrop, m.Order())
		w.mayHand = w.mayHand || c.sent
		t.tellTarget(to)
		if c.fails >= attemptsMost {
			t.abort("PrepareDropShard failed: " + c.err)
		} else if from.attached() && t.after(c.since, t.s.StepDeadline+2*answerSlack) {
			t.abort("PrepareDropShard passed its deadline")
		}
		// A source that is not attached: waited for, until it comes back or is over. Forward is preferred.
	}
}

// takeOver stages row 4.
func (t *task) takeOver(why string) {
	next := *t.row
	m := *next.Open
	m.Phase = Moved
	next.Open = &m
	next.Primary, next.PrimaryTerm, next.PrimaryMove = m.To, m.Term, m.Move
	if t.a.spec.Replication.Secondaries() {
		from := t.known(m.From)
		next.UnderTarget(!from.gone() && from.alive())
	}
	t.stage(t.a, t.at, next, urgent, Decision{What: "primary moved", Server: m.To.Server, Incarnation: m.To.Incarnation, Why: why})
}

// abort stages the decision to go back; from then on no leader moves forward.
func (t *task) abort(why string) {
	next := *t.row
	next.Move++
	m := *next.Open
	m.Phase = Aborting
	next.Open = &m
	t.stage(t.a, t.at, next, urgent, Decision{What: "move aborted", Server: m.To.Server, Incarnation: m.To.Incarnation, Why: why})
	t.w.lastAbort = why
}

// aborting stops the target, asks the source whether it had begun, and then lets the source go on: at its term if it had not, else at a
// new one. The target stops, or is fenced, before anybody else is granted the shard.
func (t *task) aborting() {
	m, w := t.row.Open, t.w
	from, to := t.known(m.From), t.known(m.To)
	stopped := w.stopped || to.gone()
	if !stopped {
		back := purpose.StopTarget
		if t.row.SecondaryOf(m.To) != nil {
			back = purpose.StepBack // it stays what it was, with all that it has
		}
		c := t.command(to, back, shard.Order{Term: m.Term, Move: t.row.Move})
		if t.stubborn(to, c.since) {
			t.fence(to, "it did not stop shard "+string(t.a.id(t.at))+" of an aborted move")
		}
	}
	if from.gone() {
		if stopped {
			t.vacant()
		}
		return
	}
	notBegun := (w.cancel == NotBegun || !w.mayHand) && !w.idle
	begun := !notBegun && (w.cancel == Begun || w.handed || w.idle)
	if !notBegun && !begun {
		c := t.command(from, purpose.Cancel, m.Order())
		begun = c.fails >= attemptsMost || t.after(c.since, t.s.StepDeadline+answerSlack)
	}
	switch {
	case !stopped:
		w.waits = "the target to stop"
	case notBegun:
		t.closeAborted()
	case begun && from.alive():
		t.grant(from, m.Reason, urgent, "a move from it was aborted after it may have begun to hand over")
	default:
		w.waits = "the source"
	}
}

// closeAborted stages the end of an abort that cost nothing: the source was primary all the time.
func (t *task) closeAborted() {
	m := *t.row.Open
	next := *t.row
	next.Open = nil
	next.Secondaries = slices.Clone(next.Secondaries)
	for i := range next.Secondaries {
		if s := &next.Secondaries[i]; s.State == InSync {
			s.Replaces = Owner{} // placement decides anew
		}
	}
	t.stage(t.a, t.at, next, lazy, Decision{What: "move rolled back", Server: m.From.Server, Incarnation: m.From.Incarnation,
		Why: report.Joined("the source had not begun", t.w.lastAbort)})
}

// moved is rows 5 to 8: the new primary serves, the map is published, the source forwards for the linger, drops, and the move is done.
func (t *task) moved() {
	m, w := t.row.Open, t.w
	from, to := t.known(m.From), t.known(m.To)
	if to.gone() {
		t.vacant()
		return
	}
	if !t.primary(to) {
		return
	}
	if w.linger.IsZero() {
		w.linger = t.now
	}
	switch {
	case w.dropped:
		why := "the source dropped it"
		if t.row.SecondaryOf(m.From) != nil {
			why = "the source is a secondary now"
		}
		t.closeMoved(why)
	case from.gone():
		t.closeMoved("the source is over")
	case !t.after(w.linger, t.s.Linger):
		w.waits = "the linger"
	case t.row.SecondaryOf(m.From) != nil && !m.Stays:
		t.closeMoved("the source leaves")
	case t.row.SecondaryOf(m.From) != nil:
		c := t.command(from, purpose.Demote, t.row.SecondaryOf(m.From).Order)
		if t.stubborn(from, c.since) {
			t.fence(from, "it does not become a secondary of shard "+string(t.a.id(t.at)))
		}
	default:
		c := t.command(from, purpose.DropSource, m.Order())
		if t.stubborn(from, c.since) {
			w.addStray(from)
			t.closeMoved("the source executes nothing more, but cannot drop it: " + c.err)
		}
	}
}

// closeMoved stages row 8.
func (t *task) closeMoved(why string) {
	m := *t.row.Open
	next := *t.row
	next.Open = nil
	if next.SecondaryOf(m.From) != nil && !(m.Stays && t.w.dropped) {
		next.Move++
		next.Secondaries = slices.Clone(next.Secondaries)
		if s := next.SecondaryOf(m.From); m.Stays { // the step that tells it is skipped
			next.Open = &m
			t.leftForwarding(&next)
			next.Open = nil
		} else {
			s.State, s.Order = Leaving, shard.Order{Term: next.Term, Move: next.Move}
		}
	}
	t.stageSecondaries(next, lazy, Decision{What: "move done", Server: m.To.Server, Incarnation: m.To.Incarnation, Why: why})
}
