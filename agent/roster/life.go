package roster

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/agent/retry"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func (r *Roster) started(now shard.Instant, ev Started, out *Effects) {
	r.saved, r.file.serveOn, r.highest = ev.Saved, ev.Saved.ServeOn, ev.Saved.Highest
	switch {
	case r.saved.Incarnation == 0:
	case r.saved.Ended:
		r.trace(out, Notable, "left over", "the incarnation in the file has ended; the application may not know yet")
		r.life = Ending
		r.end = ending{
			cause: endCause{proven: r.saved.ProvenDead, reason: "ended before the agent started"}, target: r.saved.Incarnation,
			appDone: !ev.Alive, marked: true, report: true, until: now.Add(r.settings.ReportWait), // the leader may not have heard
		}
		out.Attach = append(out.Attach, Attachment{Incarnation: r.saved.Incarnation})
		r.tickEnding(now, out)
	case ev.Alive:
		r.life = Resuming
		r.trace(out, Notable, "resuming", fmt.Sprintf("its process %d lives; waiting for it to register again", r.saved.Process.PID))
		r.tickSession(now, out)
	default:
		r.endIncarnation(now, endCause{
			reason:  fmt.Sprintf("the application (pid %d) died while the agent was down", r.saved.Process.PID),
			appDead: true, proven: r.saved.Process.ExitProves, untold: true,
		}, out)
	}
}

// save writes the file.
func (r *Roster) save(out *Effects) {
	r.saved.Highest = r.highest
	out.Store = append(out.Store, Save{Saved: r.saved})
}

func (r *Roster) appRegistered(now shard.Instant, ev AppRegistered, out *Effects) {
	if r.stopping != "" {
		out.Replies = append(out.Replies, Reply{Request: ev.Request, Refusal: RefusedStopping, Why: r.stopping})
		return
	}
	if holder, other := r.Other(ev.Application.Process); other {
		why := fmt.Sprintf("app %s is served by process %d already: stop it first, or run another agent", r.base.App, holder.PID)
		out.Replies = append(out.Replies, Reply{Request: ev.Request, Refusal: RefusedBusy, Why: why})
		return
	}
	if ev.Highest.Compare(r.highest) > 0 {
		r.highest = ev.Highest
	}
	app := ev.Application
	r.app = &app
	r.fresh = ev.Fresh
	switch {
	case r.life == Live && ev.Incarnation == r.saved.Incarnation:
		r.adopt(ev.Held)
		r.registered(ev.Request, out)
	case r.life == Live && ev.Incarnation == 0 && len(r.shards) == 0: // the answer to its first request was lost
		r.registered(ev.Request, out)
	case r.life == Resuming && ev.Incarnation == r.saved.Incarnation:
		r.resume(now, ev, out)
	case r.life == Resuming || r.life == Live:
		r.wait(ev.Request, out)
		r.endIncarnation(now, endCause{
			reason: "the application began anew", dropped: ev.Incarnation == 0, serves: ev.Incarnation, untold: true,
		}, out)
	case r.life == Ending:
		r.wait(ev.Request, out)
		r.returned(now, ev.Incarnation, out)
	case r.life == Registering:
		r.wait(ev.Request, out)
	case r.life == Waiting && ev.Incarnation != 0: // R2: whatever it serves under, it drops before another incarnation is registered
		r.wait(ev.Request, out)
		r.saved = Saved{Incarnation: ev.Incarnation, Session: r.saved.Session, Process: app.Process}
		r.endIncarnation(now, endCause{reason: "the agent knows nothing of this incarnation", serves: ev.Incarnation}, out)
	case r.life == Waiting:
		r.wait(ev.Request, out)
		r.register(out)
	}
}

// returned: a process registers while an incarnation ends. One that holds nothing has dropped everything; another is still to be told.
func (r *Roster) returned(now shard.Instant, incarnation shard.Incarnation, out *Effects) {
	switch {
	case r.end.appDone:
		return
	case incarnation == 0:
		r.end.appDone = true
	default:
		r.end.target = incarnation
	}
	r.tickEnding(now, out)
}

// Other finds a living process, not p, that is this server. A dead one was reported by AppGone before.
func (r *Roster) Other(p Process) (Process, bool) {
	if r.app != nil && !r.app.Process.Same(p) {
		return r.app.Process, true
	}
	left := r.life == Resuming || r.life == Ending && !r.end.appDone // by an agent that ended; it has not said that it dropped everything
	if r.app == nil && left && !r.saved.Process.Same(p) {
		return r.saved.Process, true
	}
	return Process{}, false
}

// resume takes the incarnation up again after a restart of the agent (R4): what it holds is read back from the application; the lease
// is zero until a leader or the store vouches, and the store is asked at once.
func (r *Roster) resume(now shard.Instant, ev AppRegistered, out *Effects) {
	r.life, r.problem = Live, ""
	if process := r.app.Process; process != r.saved.Process { // it may have learned to state its identity
		r.saved.Process = process
		r.save(out)
	}
	r.adopt(ev.Held)
	r.pulled = now
	r.trace(out, Notable, "resumed", fmt.Sprintf("%d shards read back from the application", len(ev.Held)))
	r.registered(ev.Request, out)
	r.introduce(out)
	r.reads.now = true
}

func (r *Roster) wait(request RequestID, out *Effects) {
	r.waiters = append(r.waiters, request)
	if len(r.waiters) > MaxWaiters {
		out.Replies = append(out.Replies, Reply{Request: r.waiters[0], Refusal: RefusedStore, Why: "too many requests wait"})
		r.waiters = r.waiters[1:]
	}
}

func (r *Roster) registered(request RequestID, out *Effects) {
	out.Replies = append(out.Replies, Reply{Request: request, Incarnation: r.saved.Incarnation, Interval: r.interval()})
}

// register begins the next incarnation. The file's old session goes first (R26).
func (r *Roster) register(out *Effects) {
	r.life = Registering
	r.retry.At = shard.Instant{}
	old := r.saved.Session
	r.saved = Saved{Incarnation: r.fresh, Session: old, Process: r.app.Process}
	out.Store = append(out.Store, RegisterKey{Server: r.server(r.fresh), Process: r.app.Process, Old: old, Ended: slices.Clone(r.past), Highest: r.highest})
}

func (r *Roster) keyRegistered(now shard.Instant, ev KeyRegistered, out *Effects) {
	if r.life != Registering || ev.Incarnation != r.saved.Incarnation {
		return
	}
	r.saved.Session, r.saved.Create = ev.Session, ev.Create
	r.file.serveOn, r.file.saving = false, false
	r.save(out)
	r.life, r.retry, r.problem, r.introduced = Live, retry.Pace{}, "", false
	r.session = sessionTimer{at: now.Add(retry.Spread(r.settings.SessionRenewal, uint64(r.saved.Incarnation)))}
	r.reads, r.pulled = reads{last: now}, now
	r.trace(out, Notable, "registered", "key created at index "+fmt.Sprint(ev.Create))
	switch {
	case r.stopping != "":
		r.endIncarnation(now, endCause{reason: r.stopping, dropped: true, untold: true}, out)
	case r.app == nil: // it died meanwhile
		r.endIncarnation(now, endCause{reason: "the application died while it was registered", appDead: true, untold: true,
			proven: r.saved.Process.ExitProves}, out)
	case !r.app.Process.Same(r.saved.Process): // the key describes a process that died; the next incarnation is its successor's
		r.endIncarnation(now, endCause{reason: "the application was replaced while it was registered", dropped: true, untold: true}, out)
	default:
		for _, request := range r.waiters {
			r.registered(request, out)
		}
		r.waiters = nil
	}
}

// introduce attaches once the application has pulled under its incarnation: before that, a command would reach a process that does not
// know who it is.
func (r *Roster) introduce(out *Effects) {
	if !r.introduced {
		r.introduced = true
		out.Attach = append(out.Attach, Attachment{Incarnation: r.saved.Incarnation})
	}
}

func (r *Roster) keyRefused(now shard.Instant, ev KeyRefused, out *Effects) {
	if r.life != Registering || ev.Incarnation != r.saved.Incarnation {
		return
	}
	r.saved, r.drain = Saved{Session: ev.Session}, drain{}
	r.life = Waiting
	refusal, what := RefusedStore, "not registered"
	if ev.Holder != "" {
		refusal, what = RefusedDuplicate, "duplicate server"
	}
	r.problem = ev.Why
	r.trace(out, Trouble, what, ev.Why)
	for _, request := range r.waiters {
		out.Replies = append(out.Replies, Reply{Request: request, Refusal: refusal, Why: ev.Why})
	}
	r.waiters = nil
	if r.app != nil && r.stopping == "" {
		r.retry.Failed(now, r.fresh)
	}
}

func (r *Roster) tickRegistering(now shard.Instant, out *Effects) {
	if r.life == Waiting && due(r.retry.At, now) && r.app != nil {
		r.register(out)
	}
}

func (r *Roster) appGone(now shard.Instant, ev AppGone, out *Effects) {
	process := r.saved.Process
	if r.app != nil {
		process = r.app.Process
	}
	if !process.Same(ev.Process) {
		return
	}
	r.app = nil
	for _, request := range r.waiters {
		out.Replies = append(out.Replies, Reply{Request: request, Refusal: RefusedUnknown, Why: "the process has exited"})
	}
	r.waiters = nil
	reason := fmt.Sprintf("the application (pid %d) died", process.PID)
	switch r.life {
	case Waiting, Registering: // a registration under way ends by itself
		r.retry = retry.Pace{}
	case Resuming, Live:
		r.endIncarnation(now, endCause{reason: reason, appDead: true, proven: process.ExitProves, untold: true}, out)
	case Ending:
		r.appEnded(now, process.ExitProves, out)
	}
}

func (r *Roster) appEnded(now shard.Instant, proven bool, out *Effects) {
	if r.end.appDone {
		return
	}
	r.end.appDone, r.end.cause.appDead = true, true
	r.end.cause.proven = r.end.cause.proven || proven
	r.trace(out, Notable, "application gone", "while its incarnation ended")
	r.tickEnding(now, out)
}
