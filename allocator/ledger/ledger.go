package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Ledger is the state machine. It is not safe for concurrent use: the loop owns it.
type Ledger struct {
	s      Settings
	tenure tenure

	now shard.Instant // of the present step
	out *Effects      // of the present step

	epoch     shard.Epoch
	base      shard.Instant // no earlier leader grants a lease after this (PROTOCOL R1)
	confirmed shard.Instant // when the last proof of our lock was asked for
	evidence  shard.Instant // silence before this is no evidence (PROTOCOL R15)
	behind    bool          // events wait to be taken

	apps    map[shard.App]*app
	servers map[shard.ServerID]*server
	order   []shard.ServerID // of servers, sorted
	streams map[StreamID]*stream

	draining map[shard.ServerID]struct{} // servers that are, or were a moment ago

	leaving []*life // fenced in this step: who waits for them as secondaries goes on at its end
	hold    evidence.Hold
	keeper  probation.Keeper
	events  planned
	probes  evidence.Rounds[*life]
	pen     pen
	wishes  []Request // the first may be under way
	history report.History

	deletedTerm shard.Term // highest term of apps that were deleted under this leader
	maps        uint64     // versions of maps published so far
}

// tenure is the stage of a ledger's own life.
type tenure uint8

const (
	empty    tenure = iota // nothing loaded yet
	leading                // at work
	stopping               // grants no more, waits for the write under way
	stopped                // for good
)

// New makes an empty ledger; its first event is Loaded. The settings must have passed Validate after Defaults.
func New(s Settings) *Ledger {
	return &Ledger{
		s: s, apps: map[shard.App]*app{}, servers: map[shard.ServerID]*server{}, streams: map[StreamID]*stream{},
		draining: map[shard.ServerID]struct{}{},
	}
}

// Step takes an event. now was read after the event was received (PROTOCOL R7); it never goes back.
func (l *Ledger) Step(now shard.Instant, ev Event, out *Effects) {
	l.begin(now, out)
	switch l.tenure {
	case empty:
		l.stepEmpty(ev)
	case leading:
		l.stepLeading(ev)
	case stopping:
		l.stepStopping(ev)
	case stopped:
		l.refuseAll(ev)
	}
	l.end()
}

// Tick lets time pass; it is called at least every 100 ms.
func (l *Ledger) Tick(now shard.Instant, out *Effects) {
	l.begin(now, out)
	if l.tenure == leading {
		if !l.provesLock() { // nobody is vouched for, and agents leave: once it is proven again they have as long as under a new leader
			l.restartEvidence(now.Add(l.s.Validity + settleExtra))
		}
		l.tickServers()
		l.tickEvents()
		l.tickWork()
	}
	l.end()
}

// Behind tells whether events have waited for a while to be taken: what they say of the time is old, and more commands would bring more of them.
func (l *Ledger) Behind(yes bool) { l.behind = yes }

func (l *Ledger) begin(now shard.Instant, out *Effects) {
	if invariant.Enabled {
		invariant.Check((now.Boot >= l.now.Boot || now.Raw >= l.now.Raw) && l.out == nil, "a step at %v after one at %v (R7)", now, l.now)
	}
	if l.tenure == leading && l.now.PermissionAge(now) > lateLoop {
		l.restartEvidence(now)
	}
	l.now, l.out = now, out
}

func (l *Ledger) end() {
	if l.tenure == leading {
		for len(l.leaving) > 0 {
			f := l.leaving[0]
			l.leaving = l.leaving[1:]
			l.advanceAll(f)
		}
		l.nextWish()
		l.publishChanges()
		l.requestPlans()
		l.tellDrains()
		l.flush()
		if invariant.Enabled && len(l.out.Writes) > 0 {
			l.checkCounts()
		}
	}
	l.out = nil
}

func (l *Ledger) stepEmpty(ev Event) {
	switch ev := ev.(type) {
	case Loaded:
		l.load(ev)
	case Hello:
		l.send(ev.Stream, message.Refuse{Retry: true, Reason: "the new leader is still loading"})
	case StopRequested:
		l.stop(false, "stopped before anything was loaded")
	case Request:
		l.reply(ev.ID, &RequestError{NotNow, "leader", "the new leader is still loading; ask again"})
	case ClockRead, LockConfirmed, Detached, Renew, Result, ProbeAnswer, DrainRequested, RestRequested, Ended, RegistrationRead,
		RegistrationsSeen, WriteDone, PlanReady:
		// They belong to an earlier leadership.
	}
}

func (l *Ledger) stepLeading(ev Event) {
	switch ev := ev.(type) {
	case Loaded:
		l.trace(Decision{What: "ignored", Why: "loaded twice"})
	case ClockRead:
		l.events.wall, l.events.wallAt = ev.Wall, l.now
	case LockConfirmed:
		l.confirmed = shard.LaterOf(l.confirmed, ev.Asked)
	case Hello:
		l.hello(ev)
	case Detached:
		l.detached(ev)
	case Renew:
		l.renew(ev)
	case Result:
		l.result(ev)
	case ProbeAnswer:
		l.probeAnswer(ev)
	case DrainRequested:
		l.drainRequested(ev)
	case RestRequested:
		l.restRequested(ev)
	case Ended:
		l.ended(ev)
	case RegistrationRead:
		l.registrationRead(ev)
	case RegistrationsSeen:
		l.registrationsSeen(ev)
	case WriteDone:
		l.writeDone(ev)
	case PlanReady:
		l.planReady(ev)
	case Request:
		l.request(ev)
	case StopRequested:
		l.stopRequested()
	}
}

// stepStopping only waits for the write under way: whatever it stores, the next leader reads.
func (l *Ledger) stepStopping(ev Event) {
	done, ok := ev.(WriteDone)
	if !ok {
		l.refuseAll(ev)
		return
	}
	if l.pen.flight == nil || done.ID != l.pen.flight.id {
		return
	}
	l.stop(done.Outcome != Superseded && l.ownWaitOver(), "stopped in order")
}

// refuseAll answers whoever waits for an answer; nothing is granted or decided any more.
func (l *Ledger) refuseAll(ev Event) {
	switch ev := ev.(type) {
	case Hello:
		l.send(ev.Stream, message.Refuse{Retry: true, Reason: "this leader is stopping"})
	case Renew:
		l.send(ev.Stream, message.Grant{Sequence: ev.Sequence})
	case RestRequested:
		l.send(ev.Stream, message.RestGranted{Sequence: ev.Sequence})
	case Request:
		l.reply(ev.ID, notNow())
	case Loaded, ClockRead, LockConfirmed, Detached, Result, ProbeAnswer, DrainRequested, Ended, RegistrationRead, RegistrationsSeen,
		WriteDone, PlanReady, StopRequested:
	}
}

// stopRequested begins a clean stop (PROTOCOL R1): no grant from here on, then the write under way, then the lock.
func (l *Ledger) stopRequested() {
	l.tenure = stopping
	l.trace(Decision{What: "stopping", Why: "asked to"})
	for _, w := range l.wishes {
		l.reply(w.ID, notNow())
	}
	l.wishes = nil
	if l.pen.flight == nil {
		l.stop(l.ownWaitOver(), "stopped in order")
	}
}

// ownWaitOver reports whether no earlier leader can still be granting: only then may the lock be marked clean (PROTOCOL R1).
func (l *Ledger) ownWaitOver() bool { return l.base.Passed(l.now) }

func (l *Ledger) stop(clean bool, reason string) {
	l.tenure = stopped
	for _, w := range l.wishes {
		l.reply(w.ID, notNow())
	}
	l.wishes = nil
	l.out.Stop = &Stop{Clean: clean, Reason: reason}
}

func notNow() *RequestError {
	return &RequestError{NotNow, "leader", "this allocator leads no longer; ask the next leader"}
}

// provesLock reports whether the lock was ours recently enough to grant leases (DESIGN §5, PROTOCOL R7).
func (l *Ledger) provesLock() bool {
	return l.tenure == leading && l.pen.heard == nil && l.confirmed.PermissionAge(l.now) < l.s.LeaderValidity
}

func (l *Ledger) send(to StreamID, body message.Body) {
	if _, ok := body.(message.Command); ok && l.pen.heard != nil {
		return // what was decided before may be wrong
	}
	l.out.Messages = append(l.out.Messages, Message{Stream: to, Body: body})
}

func (l *Ledger) reply(id uint64, err *RequestError) {
	l.out.Replies = append(l.out.Replies, Reply{ID: id, Err: err})
}

func (l *Ledger) trace(d Decision) { l.out.Trace = append(l.out.Trace, d) }

// after reports whether d has passed since an instant, as waits count.
func (l *Ledger) after(since shard.Instant, d time.Duration) bool { return since.WaitAge(l.now) >= d }
