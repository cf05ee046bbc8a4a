package roster

import (
	"github.com/shardmanager/shardmanager/agent/retry"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// ending is an incarnation on its way out.
type ending struct {
	cause   endCause
	marked  bool              // the file says that it ended, or could not be written
	appDone bool              // the application acknowledged, or is dead, or was never reached
	target  shard.Incarnation // what the application is told to end
	calling CallID
	report  bool // the leader is still to be told
	until   shard.Instant
	destroy bool // the session is being destroyed
	retry   retry.Pace
}

// endCause says why an incarnation ended.
type endCause struct {
	reason  string
	appDead bool              // its process has exited
	proven  bool              // and that proves that nothing runs any more (R5)
	dropped bool              // the application says that it dropped everything
	untold  bool              // the leader does not know yet
	serves  shard.Incarnation // what the application says it serves under, if that is another one; 0: the one that ends
}

func (r *Roster) fenced(now shard.Instant, ev Fenced, out *Effects) {
	if ev.Incarnation != r.saved.Incarnation {
		return
	}
	switch r.life {
	case Resuming, Live:
		r.endIncarnation(now, endCause{reason: "fenced by the leader: " + ev.Reason}, out)
	case Ending: // it knows
		r.end.report = false
		r.tickEnding(now, out)
	case Waiting, Registering:
	}
}

func (r *Roster) stop(now shard.Instant, ev Stop, out *Effects) {
	r.stopping = ev.Reason
	switch r.life {
	case Live, Resuming:
		r.endIncarnation(now, endCause{reason: ev.Reason, untold: true}, out)
	case Waiting:
		r.retry = retry.Pace{}
	case Registering, Ending: // both see it when they are through
	}
}

// endIncarnation is R2: the lease ends at once, everything held is forgotten, the file says so; then the application, the leader and the
// store are told.
func (r *Roster) endIncarnation(now shard.Instant, cause endCause, out *Effects) {
	r.problem = cause.reason
	r.restRefused("the incarnation ended", out)
	out.Cancels = append(append(out.Cancels, shard.SortedKeys(r.calls)...), shard.SortedKeys(r.lanes)...)
	if r.loads.calling != 0 {
		out.Cancels = append(out.Cancels, r.loads.calling)
	}
	r.lease, r.reads, r.session, r.drain, r.loads = lease{}, reads{}, sessionTimer{}, drain{}, newLoads()
	r.shards, r.calls, r.lanes, r.ready = map[shard.ID]*entry{}, map[CallID]*entry{}, map[CallID]*entry{}, nil
	r.transfers = nil
	r.saved.Ended, r.saved.ProvenDead = true, cause.proven
	known := r.introduced || r.life != Live // the leader may have heard of it, from us or from the agent before us
	r.life = Ending
	r.end = ending{
		cause: cause, report: cause.untold && known, until: now.Add(r.settings.ReportWait),
		appDone: cause.appDead || cause.dropped || r.app == nil, target: r.saved.Incarnation,
	}
	if cause.serves != 0 {
		r.end.target = cause.serves
	}
	r.save(out)
	out.Hints = append(out.Hints, HintEnded)
	r.trace(out, Notable, "incarnation ended", cause.reason)
	switch {
	case !r.end.report:
		out.Attach = append(out.Attach, Attachment{})
	case !r.introduced:
		out.Attach = append(out.Attach, Attachment{Incarnation: r.saved.Incarnation})
	}
	r.introduced = false
	r.tickEnding(now, out)
}

// tickEnding takes the next step of the way out: application, leader, session.
func (r *Roster) tickEnding(now shard.Instant, out *Effects) {
	if r.life != Ending || (!r.end.retry.At.IsZero() && !r.end.retry.At.Passed(now)) {
		return
	}
	if !r.end.appDone {
		if r.end.calling == 0 && r.app != nil {
			r.end.calling = r.call(Call{Kind: CallEndIncarnation, Incarnation: r.end.target, Deadline: r.settings.EndDeadline, Reason: r.end.cause.reason}, out)
		}
		return
	}
	if !r.end.marked {
		return
	}
	if r.end.report {
		if !r.link.up && !r.end.until.Passed(now) {
			return
		}
		r.send(out, Ended{Incarnation: r.saved.Incarnation, ProvenDead: r.end.cause.proven, Reason: r.end.cause.reason})
		r.end.report = false
	}
	if r.end.destroy {
		return
	}
	if r.saved.Session == "" {
		r.ended(out)
		return
	}
	r.end.destroy = true
	out.Store = append(out.Store, DestroySession{Session: r.saved.Session})
}

func (r *Roster) fileSaved(now shard.Instant, ev FileSaved, out *Effects) {
	if ev.Err != "" { // a restart would find the incarnation unended, and end it by its key or its process instead
		r.trace(out, Trouble, "state file not written", ev.Err)
	}
	r.serveOnSaved(ev)
	if r.life == Ending && ev.Saved.Incarnation == r.saved.Incarnation && ev.Saved.Ended {
		r.end.marked = true
		r.tickEnding(now, out)
	}
}

func (r *Roster) sessionDestroyed(now shard.Instant, ev SessionDestroyed, out *Effects) {
	if r.life != Ending || ev.Session != r.saved.Session {
		return
	}
	r.end.destroy = false
	if ev.Err != "" {
		r.trace(out, Trouble, "session not destroyed", ev.Err)
		r.end.retry.Failed(now, r.saved.Incarnation)
		return
	}
	r.ended(out)
}

// ended closes the incarnation for good; whoever waits becomes the next one.
func (r *Roster) ended(out *Effects) {
	r.trace(out, Notable, "incarnation closed", r.end.cause.reason)
	out.Attach = append(out.Attach, Attachment{})
	r.past = append(r.past, r.saved.Incarnation)
	r.past = r.past[max(0, len(r.past)-8):]
	r.saved = Saved{}
	r.life, r.end, r.link.up, r.retry = Waiting, ending{}, false, retry.Pace{}
	if len(r.waiters) > 0 && r.app != nil && r.stopping == "" {
		r.register(out)
		return
	}
	r.app = nil // a living process comes back by itself: it was told that its incarnation ended
	for _, request := range r.waiters {
		out.Replies = append(out.Replies, Reply{Request: request, Refusal: RefusedStopping, Why: r.stopping})
	}
	r.waiters = nil
}

func (r *Roster) endAnswered(now shard.Instant, ev CallDone, out *Effects) {
	r.end.calling = 0
	if r.life != Ending || r.end.appDone {
		return
	}
	if ev.Outcome == CallFailed {
		r.trace(out, Trouble, "end not acknowledged", ev.Err)
		r.end.retry.Failed(now, r.saved.Incarnation)
		return
	}
	r.end.appDone, r.end.retry = true, retry.Pace{} // stale: it serves under no such incarnation any more
	r.tickEnding(now, out)
}
