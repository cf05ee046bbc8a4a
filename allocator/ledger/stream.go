package ledger

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// stream is one Attach stream, from its hello to its end.
type stream struct {
	id     StreamID
	server *server
	hello  Hello
	at     shard.Instant // when the hello came: the key is read after that
	life   *life         // set by the welcome
}

// hello begins a stream. Nothing is believed before the server's key was read (PROTOCOL R26).
func (l *Ledger) hello(ev Hello) {
	if g := ev.HighestEpoch.Generation; g > shard.MostGeneration {
		l.send(ev.Stream, message.Refuse{Reason: fmt.Sprintf("the agent obeys generation %d, and at most %d are possible: its state is damaged", g, shard.MostGeneration)})
		return
	}
	if ev.HighestEpoch.Compare(l.epoch) > 0 {
		l.hears(ev.Server.ID, ev.HighestEpoch.Generation, "server "+string(ev.Server.ID)+" obeyed epoch "+ev.HighestEpoch.String()+", which is later than "+l.epoch.String())
		l.send(ev.Stream, message.Refuse{Retry: true, Reason: "the agent obeys the later leader " + ev.HighestEpoch.String()})
		return
	}
	s := l.server(ev.Server.ID)
	for _, older := range slices.Clone(s.greetings) {
		if older.hello.Server.Incarnation == ev.Server.Incarnation {
			l.dismiss(older, message.Close{Reason: "a newer stream of the same incarnation"})
		}
	}
	st := &stream{id: ev.Stream, server: s, hello: ev, at: l.now}
	l.streams[ev.Stream] = st
	s.greetings = append(s.greetings, st)
	s.readAt = l.now
	l.wantKey(s)
}

// answerHellos decides about the streams whose hello came before the key was read.
func (l *Ledger) answerHellos(s *server, asked shard.Instant) {
	for _, st := range slices.Clone(s.greetings) {
		if !st.at.Passed(asked) {
			l.wantKey(s)
			continue
		}
		l.answerHello(s, st)
	}
}

func (l *Ledger) answerHello(s *server, st *stream) {
	inc := st.hello.Server.Incarnation
	f := s.lives[inc]
	switch {
	case f != nil && f.over:
		l.dismiss(st, message.Fenced{Incarnation: inc, Reason: f.why})
	case f != nil && f.fencing && !f.fencedAt.IsZero():
		l.dismiss(st, message.Fenced{Incarnation: inc, Reason: f.why})
	case f != nil && f.fencing:
		l.dismiss(st, message.Refuse{Retry: true, Reason: "being fenced: " + f.why})
	case s.key == nil && f != nil && len(f.refs) > 0:
		l.fence(f, "its key is gone")
		l.dismiss(st, message.Refuse{Retry: true, Reason: "being fenced: " + f.why})
	case s.key == nil:
		l.dismiss(st, message.Fenced{Incarnation: inc, Reason: "its key is gone"})
	case f == nil || f != s.current():
		l.trace(Decision{What: "duplicate refused", Server: s.id, Incarnation: inc,
			Why: "incarnation " + s.key.Server.Incarnation.String() + " holds the key"})
		l.dismiss(st, message.Refuse{Duplicate: true, Reason: "the server's key is held by incarnation " +
			s.key.Server.Incarnation.String() + " at " + s.key.Server.AgentAddress})
	default:
		if term, why := l.fromTheFuture(f, st.hello.Held); why != "" {
			l.hears(s.id, term.Generation(), why)
			l.dismiss(st, message.Refuse{Retry: true, Reason: why})
			return
		}
		l.welcome(f, st)
	}
}

// fromTheFuture finds a term that no row has issued, nor any that was deleted: the stored state is older than what servers obeyed (PROTOCOL R14).
func (l *Ledger) fromTheFuture(f *life, held []shard.Held) (shard.Term, string) {
	a := l.apps[f.app]
	if a == nil {
		return 0, ""
	}
	for _, h := range held {
		at, ok := a.find(h.Shard)
		if ok && h.Max.Term > l.issued(a, at) {
			return h.Max.Term, "shard " + string(h.Shard) + " was seen by server " + string(f.Server) + " at term " + h.Max.String() + ", which the stored state does not know"
		}
	}
	return 0, ""
}

// issued is at or above every term that was granted of a shard, in this generation or an earlier one. A durable row without a term, or of another name,
// does not know it yet: the shard is new, or was deleted and is created again.
func (l *Ledger) issued(a *app, at shard.Index) shard.Term {
	row := &a.rows[at]
	if row.Term == 0 || a.spec.Space.Named && row.ID != a.id(at) {
		return max(row.Term, l.usedTerm())
	}
	return max(row.Term, shard.FirstTerm(l.epoch.Generation))
}

// hears takes note of what only a later leader can have said. If there is one, the lock is lost and the write fails. If there is none, the store
// went back in time, and no leader can know what is true: nobody leads until a person has said so (PROTOCOL R14).
func (l *Ledger) hears(from shard.ServerID, generation uint64, why string) {
	if p := &l.pen; p.heard == nil {
		p.heard, p.hurry = &PutHeard{Generation: generation, Why: why}, true
		l.trace(Decision{What: "later leader heard of", Server: from, Why: why})
	}
}

func (l *Ledger) welcome(f *life, st *stream) {
	s := f.server
	s.greetings = slices.DeleteFunc(s.greetings, func(g *stream) bool { return g == st })
	if old := l.streams[f.stream]; f.stream != 0 && old != nil {
		l.dismiss(old, message.Close{Reason: "a newer stream of the same incarnation"})
	}
	f.stream, st.life = st.id, f
	f.heard, f.reset, f.resting = l.now, false, false
	f.clock = timing.ClockCheck{}
	l.unsuspect(f)
	f.drain, f.toldSome = st.hello.Draining, false
	f.replicates = st.hello.Replicates
	l.watchDrain(s)
	held := st.hello.Held
	st.hello.Held = nil
	l.describe(s, st.hello.Server)
	l.send(st.id, message.Welcome{Epoch: l.epoch, Interval: l.s.Interval, Validity: l.s.Validity})
	l.trace(Decision{What: "server attached", App: f.app, Server: s.id, Incarnation: f.Incarnation})
	l.reconcile(f, held)
	l.joined(f.app)
}

// dismiss ends a stream from our side, with a last word.
func (l *Ledger) dismiss(st *stream, word message.Body) {
	l.send(st.id, word)
	l.drop(st)
}

// drop forgets a stream.
func (l *Ledger) drop(st *stream) {
	delete(l.streams, st.id)
	st.server.greetings = slices.DeleteFunc(st.server.greetings, func(g *stream) bool { return g == st })
	if f := st.life; f != nil && f.stream == st.id {
		f.stream = 0
		l.serverChanged(st.server) // watchers may have known it by the stream alone
	}
}

func (l *Ledger) detached(ev Detached) {
	st := l.streams[ev.Stream]
	if st == nil {
		return
	}
	l.drop(st)
	if f := st.life; f != nil {
		f.reset = ev.Reset
		l.trace(Decision{What: "server detached", App: f.app, Server: f.Server, Incarnation: f.Incarnation, Why: report.Detached(ev.Reset)})
		l.wantKey(f.server)
		l.serverChanged(f.server)
		l.membershipChanged(f.app)
	}
	l.forget(st.server)
}

// welcomed returns the life that a stream speaks for; nil before its welcome and after its end.
func (l *Ledger) welcomed(id StreamID) *life {
	if st := l.streams[id]; st != nil {
		return st.life
	}
	return nil
}

// greeting reports whether a hello waits for the server's key.
func (l *Ledger) greeting(s *server) bool { return len(s.greetings) > 0 }

// impatient refuses hellos whose key cannot be read.
func (l *Ledger) impatient(s *server) {
	for _, st := range slices.Clone(s.greetings) {
		if l.after(st.at, helloPatience) {
			l.dismiss(st, message.Refuse{Retry: true, Reason: "the server's key cannot be read from the store now"})
		}
	}
}
