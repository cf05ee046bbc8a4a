package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// suspicion is the evidence against a silent server (docs/architecture.md §7).
type suspicion struct {
	suspect bool
	lost    bool
	lostAt  shard.Instant
	asking  *evidence.Round[*life] // probes under way
	asked   shard.Instant          // when the last round began
	verdict evidence.Verdict       // of the last complete round

	released bool // an operator gave it up: no hold protects it
}

// restartEvidence forgets all silence so far: after a late loop, or what looked like a mass failure, it may have been our own (PROTOCOL R15).
func (l *Ledger) restartEvidence(now shard.Instant) {
	l.evidence = shard.LaterOf(l.evidence, now)
	for _, id := range l.order {
		for _, f := range l.servers[id].lives {
			f.suspicion, f.clock, f.reset = suspicion{}, timing.ClockCheck{}, false
		}
	}
	l.probes.Clear()
}

// unsuspect drops the evidence against one incarnation.
func (l *Ledger) unsuspect(f *life) {
	l.probes.Forget(f.suspicion.asking)
	if f.suspicion.suspect {
		f.cleared = l.now
	}
	f.suspicion = suspicion{}
}

// stubborn reports whether a server has not done what it was told although it was there, and heard of, for several deadlines. Who is silent is
// judged for that alone, and not at all while silence is held.
func (t *task) stubborn(f *life, told shard.Instant) bool {
	since := shard.LaterOf(told, shard.LaterOf(f.cleared, t.evidence))
	return f.attached() && !f.suspicion.suspect && t.after(since, stuckFactor*t.s.StepDeadline)
}

// silent reports whether nothing was heard of a life for d, as far as silence counts.
func (l *Ledger) silent(f *life, d time.Duration) bool {
	return l.after(shard.LaterOf(f.heard, l.evidence), d)
}

func (l *Ledger) tickServers() {
	l.weighLosses()
	l.endTrials()
	for i := 0; i < len(l.order); i++ {
		s := l.servers[l.order[i]]
		l.readKey(s)
		l.impatient(s)
		for _, f := range s.lives {
			if f.over || f.fencing || f.restLength > 0 || len(s.lives) > 1 {
				l.tickOld(s)
				break
			}
			l.examine(f)
		}
		if f := s.present(); f != nil && len(f.unknown) > 0 {
			l.tellUnknown(f)
		}
	}
}

// tickOld is the rarer half of a server's tick: fences, rests, and incarnations beside the present one.
func (l *Ledger) tickOld(s *server) {
	for _, f := range s.all() {
		l.tickRest(f)
		switch {
		case f.over:
		case !f.fencing:
			l.examine(f)
		case !f.fencedAt.IsZero():
			l.endFenced(f)
		}
	}
}

// examine weighs the silence of one incarnation.
func (l *Ledger) examine(f *life) {
	s := &f.suspicion
	if f.resting && !f.rest.Passed(l.now) {
		return
	}
	broken := f.reset && f.stream == 0 && l.evidence.Passed(l.now)
	if !broken && !l.silent(f, l.s.Interval*3/2) {
		return
	}
	if !s.suspect {
		s.suspect = true
		l.trace(Decision{What: "suspected", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: "silent"})
		l.wantKey(f.server)
		l.membershipChanged(f.app)
	}
	if len(f.refs) == 0 {
		l.dismissIdle(f)
		return
	}
	l.probe(f)
	if !broken && !l.silent(f, 2*l.s.Interval) {
		return
	}
	if !s.lost {
		s.lost, s.lostAt = true, l.now
		l.trace(Decision{What: "lost", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: "silent for two intervals, or its stream broke"})
	}
	l.judge(f)
}

// dismissIdle lets go of an incarnation that no row names once its key is gone: it never returns, and nothing waits for that.
func (l *Ledger) dismissIdle(f *life) {
	if f.stream == 0 && f.server.keyRead && f.server.current() != f && !f.server.reading && !f.server.wantRead {
		l.end4ever(f, "its key is gone and it held nothing")
		l.forget(f.server)
	}
}

// judge fences a lost incarnation as soon as the evidence suffices.
func (l *Ledger) judge(f *life) {
	s := &f.suspicion
	if l.hold.Forbids() && !s.released {
		return
	}
	if f.stream == 0 && f.server.keyRead && f.server.key == nil && !f.server.reading {
		f.silenced = true
		l.fence(f, "its stream is lost and its key is gone")
		return
	}
	grace := l.s.PartitionGrace
	switch s.verdict {
	case 0:
		return
	case evidence.Unreachable:
		grace = 0
	case evidence.Hung:
		if f.hung { // its own agent says the same
			grace = 0
		}
	case evidence.NobodyAsks, evidence.AgentDown:
		grace = l.s.AgentGrace
	case evidence.Partitioned, evidence.Inconclusive:
	}
	if l.after(s.lostAt, grace) {
		f.silenced = true
		l.fence(f, "silent; "+s.verdict.String()+", for "+grace.String())
	}
}

// ended takes an agent's word that it ended the incarnation itself (PROTOCOL R5).
func (l *Ledger) ended(ev Ended) {
	st := l.streams[ev.Stream]
	if st == nil {
		return
	}
	f := st.life
	if f == nil {
		f = st.server.lives[st.hello.Server.Incarnation]
	}
	if f == nil || f.Incarnation != ev.Incarnation {
		return
	}
	f.loose = false // its agent lets it serve on no more
	switch {
	case f.over:
	case ev.ProvenDead:
		l.died(f)
		l.end4ever(f, "its application is proven dead: "+ev.Reason)
	case len(f.refs) == 0:
		l.end4ever(f, "ended by its agent, holding nothing: "+ev.Reason)
	default:
		f.ownWord = true
		l.fence(f, "ended by its agent: "+ev.Reason)
	}
}

// fence decides that an incarnation may not go on: no grant from here on, then the durable fence, then the wait, then it is over.
func (l *Ledger) fence(f *life, why string) {
	if f.over || f.fencing {
		return
	}
	f.fencing, f.why = true, why
	l.trace(Decision{What: "fence", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: why})
	l.queueFence(f)
	l.membershipChanged(f.app)
	if a := l.apps[f.app]; a != nil && a.spec.Replication.Secondaries() {
		l.leaving = append(l.leaving, f) // primaries wait for it as a secondary no longer; a fence may be decided in the middle of a shard's advance
	}
}

// fenceStored starts the wait and tells the agent, if it can hear.
func (l *Ledger) fenceStored(f *life) {
	s := f.server
	f.fencedAt = l.now
	l.answerAll(f.askers)
	f.askers = nil
	if f.session != "" { // as the write named it: by now the key may have been read as absent
		l.out.Sessions = append(l.out.Sessions, f.session)
	}
	if s.key != nil && s.key.Server.Incarnation == f.Incarnation {
		s.key = nil
		l.serverChanged(s)
	}
	if st := l.streams[f.stream]; f.stream != 0 && st != nil {
		l.dismiss(st, message.Fenced{Incarnation: f.Incarnation, Reason: f.why})
	}
	l.endFenced(f)
}

// end4ever notes that an incarnation executes nothing any more, and never will: its shards may go elsewhere.
func (l *Ledger) end4ever(f *life, why string) {
	if f.over {
		return
	}
	f.over, f.why, f.resting = true, why, false
	if a := l.apps[f.app]; a != nil {
		a.thinAt = shard.Instant{} // fewer copies are left than were counted
	}
	f.loose = f.loose && f.fencing // whoever ended otherwise has stopped
	l.unsuspect(f)
	l.answerAll(f.askers)
	f.askers = nil
	l.trace(Decision{What: "incarnation over", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: why})
	l.advanceAll(f)
	l.membershipChanged(f.app)
}
