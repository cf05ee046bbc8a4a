package ledger

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// steer carries out an operator's wish to abort a move or to skip a step (promise 8); docs/protocol.md says what may be skipped, and why.
// Everything is durable before it is answered, as a row or as a fence, so that the next leader goes on from there. It reports false
// while a change of the shard's row is being written: what comes of that decides.
func (l *Ledger) steer(r Request) bool {
	var app shard.App
	var id shard.ID
	var do func(*task) *RequestError
	switch w := r.Wish.(type) {
	case wish.AbortMove:
		app, id, do = w.App, w.Shard, func(t *task) *RequestError { return t.abortWished(r.ID, w) }
	case wish.SkipStep:
		app, id, do = w.App, w.Shard, func(t *task) *RequestError { return t.skipWished(r.ID, w) }
	case wish.CreateShards, wish.DeleteShards, wish.CreateApp, wish.UpdateApp, wish.DeleteApp, wish.DrainServer, wish.ReleaseHold, wish.ReleaseQuarantine,
		wish.RequestMaintenance, wish.ApproveMaintenance, wish.FinishMaintenance, wish.CancelMaintenance, wish.CheckStop:
	}
	a := l.apps[app]
	if a == nil || a.removed {
		l.reply(r.ID, l.noApp(app))
		return true
	}
	at, ok := a.find(id)
	if !ok {
		l.reply(r.ID, noShard(a, id))
		return true
	}
	if _, pending := a.staged[at]; pending {
		return false
	}
	if refusal := do(&task{l, a, at, &a.rows[at], a.work[at]}); refusal != nil {
		l.reply(r.ID, refusal)
	}
	return true
}

func noShard(a *app, id shard.ID) *RequestError {
	return &RequestError{NotFound, "shard", fmt.Sprintf("a shard of app %q, not %q; list them with `shardmanager map %s`", a.spec.Name, id, a.spec.Name)}
}

func (t *task) abortWished(id uint64, w wish.AbortMove) *RequestError {
	m := t.row.Open
	if m == nil && t.abortJoins(id, w) {
		return nil
	}
	if bad := t.meant(w.Move, 0); bad != nil {
		return bad
	}
	switch {
	case m == nil:
		return &RequestError{Conflict, "shard", "an open move: this shard is being granted to " + string(t.row.Primary.Server) +
			", and has nowhere to go back to; skip the step with force to take it from there"}
	case m.Phase == Moved:
		return &RequestError{Conflict, "move", fmt.Sprintf("a move before its fourth step: %s owns the shard at term %d already; skip the step that is stuck, or drain %s to move it away",
			m.To.Server, m.Term, m.To.Server)}
	case m.Phase == Aborting:
		t.answerAll([]Reply{{ID: id, Note: "it is being aborted already"}})
		return nil
	}
	t.avoid(m.To)
	t.abort(report.Asked(w.Why))
	t.whenStored(id, "aborting: "+string(m.To.Server)+" is to stop, then "+string(m.From.Server)+" goes on")
	return nil
}

// abortJoins sends away the newcomers of a shard that are not in sync yet; false: there are none.
func (t *task) abortJoins(id uint64, w wish.AbortMove) bool {
	e := t.edit()
	for _, s := range t.row.Secondaries {
		if (s.State == Joining || s.State == Syncing) && (w.Move == 0 || w.Move == s.Order.Move) {
			t.avoid(s.Owner)
			e.set(s.Owner, Leaving, "secondary given up", report.Asked(w.Why), urgent)
		}
	}
	if !e.stage() {
		return false
	}
	t.whenStored(id, "the new secondary is to drop the shard")
	return true
}

func (t *task) skipWished(id uint64, w wish.SkipStep) *RequestError {
	if bad := t.meant(w.Move, w.Step); bad != nil {
		return bad
	}
	m := t.row.Open
	switch step := t.w.stepNow(t.a, t.at); step {
	case report.StepLinger, report.StepDrop:
		if from := t.known(m.From); !from.gone() {
			t.w.addStray(from)
		}
		t.closeMoved(report.Joined(report.Asked(w.Why), "step "+step.String()+" is skipped"))
		t.whenStored(id, "the move is done; "+string(m.From.Server)+" is told to drop the shard until it does")
		return nil
	case report.StepPrepareAdd:
		return &RequestError{Conflict, "step", "a step that can be skipped: " + string(m.To.Server) + " has not loaded the shard and must not own it; abort the move instead"}
	case report.StepPrepareDrop:
		return t.force(id, w, step, m.From)
	case report.StepAdd:
		return t.force(id, w, step, t.row.Primary)
	case report.StepAborting:
		if !t.w.stopped && !t.known(m.To).gone() {
			return t.force(id, w, step, m.To)
		}
		return t.force(id, w, step, m.From)
	case report.StepOpening, report.StepCommitting, report.StepClosing, report.StepDone, report.StepAborted:
	}
	return &RequestError{NotNow, "step", "a step that waits for a server; ask again"} // a write is waited for before
}

// meant refuses a wish about a shard that is at rest, or about a move or step that is not the present one.
func (t *task) meant(move shard.MoveID, step report.MoveStep) *RequestError {
	if t.w == nil { // every open move has work
		return errAtRest
	}
	now, ok := t.moveStatus(t.a, t.at, t.w)
	switch {
	case !ok:
		return errAtRest
	case move != 0 && move != now.Order.Move:
		return &RequestError{Conflict, "move", fmt.Sprintf("%d, the present one; it was another when you looked", now.Order.Move)}
	case step != 0 && step != now.Step:
		return &RequestError{Conflict, "step", now.Step.String() + ", the present one; it was another when you looked"}
	}
	return nil
}

var errAtRest = &RequestError{Conflict, "shard", "an open move: nothing is under way for this shard; list moves with `shardmanager moves`"}

// force fences the one server that a step waits for.
func (t *task) force(id uint64, w wish.SkipStep, step report.MoveStep, o Owner) *RequestError {
	f := t.known(o)
	note := string(o.Server) + " is fenced; its shards go elsewhere once its lease is over"
	switch {
	case f.gone():
		return &RequestError{Conflict, "step", "a step that waits for a server: " + string(o.Server) + " is over already, and the shard waits for " + t.w.waits}
	case f.fencing && !f.fencedAt.IsZero():
		t.answerAll([]Reply{{ID: id, Note: note}})
		return nil
	case !w.Force && !f.fencing:
		return &RequestError{Conflict, "force", fmt.Sprintf("force, to skip step %s: it fences %s, which loses all %d shards that it is primary of",
			step, o.Server, f.owned)}
	}
	f.askers = append(f.askers, Reply{ID: id, Note: note})
	t.fence(f, report.Joined(report.Asked(w.Why), fmt.Sprintf("step %s of shard %s is forced", step, t.a.id(t.at))))
	return nil
}

// whenStored answers once the row that was just staged is durable.
func (t *task) whenStored(id uint64, note string) {
	t.a.askers[t.at] = append(t.a.askers[t.at], Reply{ID: id, Note: note})
}
