package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// verdict of a request, as its client learns it (PROTOCOL R20).
type verdict uint8

const (
	executed verdict = iota + 1
	notExecuted
	unknown // it began, and what came of it is not known
)

type response struct {
	verdict verdict
	write   int64          // its number, if it wrote
	term    shard.Term     // at which
	hint    shard.ServerID // who may have the shard
	why     string
}

// request is one of a client's.
type request struct {
	shard    shard.ID
	forward  shard.Order // under which a source passed it on; zero: it came from a client (PROTOCOL R21)
	patience time.Duration
	answer   func(response)
}

// Times of requests.
const (
	operationTakes = 5 * time.Millisecond
	operationLong  = 3 * time.Second
	longPerMille   = 2
	writeWaits     = 10 * time.Second
	forwardAgain   = 50 * time.Millisecond
)

// request is the guard: it looks whether a request may run here, now.
func (a *application) request(q request) {
	refuse := func(why string, hint shard.ServerID) { q.answer(response{verdict: notExecuted, hint: hint, why: why}) }
	l := a.life
	if l == nil || l.over {
		refuse("not registered", "")
		return
	}
	r := l.replicas[q.shard]
	if r == nil {
		refuse("not here", "")
		return
	}
	allowed := l.end.Allows(a.host.now())
	wait := func() {
		over := false
		again := func() {
			if !over {
				over = true
				a.request(q)
			}
		}
		r.changed = append(r.changed, again)
		begun := a.w.queue.Now()
		a.process.After(q.patience, func() {
			if !over {
				over = true
				refuse("held for as long as allowed", "")
			}
		})
		q.patience -= a.w.queue.Now() - begun
	}
	if q.forward != (shard.Order{}) {
		switch {
		case !allowed:
			refuse("no lease", "")
		case r.gate == open && r.Term >= q.forward.Term,
			r.Phase == shard.Prepared && r.Under == q.forward && r.activated == q.forward.Term:
			r.execute(q)
		case r.gate == hold && r.Term >= q.forward.Term:
			wait()
		default:
			refuse("forwarded under a move that does not end here", "")
		}
		return
	}
	switch r.gate {
	case open:
		if !allowed {
			refuse("no lease", "")
			return
		}
		r.execute(q)
	case hold:
		if !allowed {
			refuse("no lease", "")
			return
		}
		wait()
	case forward:
		r.passOn(q)
	case follow:
		refuse("a secondary", r.peer.Server)
	case closed:
		refuse("not served here", r.peer.Server)
	}
}

// execute runs an operation: a write. Its answer leaves only under the lease.
func (r *replica) execute(q request) {
	a := r.app
	r.running++
	takes := a.w.chance.UpTo(operationTakes)
	if a.w.chance.PerMille(longPerMille) {
		takes = a.w.chance.UpTo(operationLong)
	}
	term := r.activated
	over := false
	end := func(v verdict, n int64, why string) {
		if over {
			return
		}
		over = true
		r.running--
		if idle := r.idle; r.running == 0 && idle != nil {
			r.idle = nil
			idle()
		}
		if v == executed && (r.life.over || !r.life.end.Allows(a.host.now())) {
			v, why = unknown, "the lease ended meanwhile"
		}
		q.answer(response{verdict: v, write: n, term: term, why: why})
	}
	a.process.After(takes, func() {
		if r.life.over || !r.life.end.Allows(a.host.now()) {
			end(unknown, 0, "the lease ended meanwhile")
			return
		}
		if a.w.shared {
			n, ok := a.w.storage.write(r.id, term)
			if !ok {
				end(unknown, 0, "the storage has seen a higher term")
				return
			}
			end(executed, n, "")
			return
		}
		r.writes++
		n := r.writes
		if r.everywhere(n) {
			end(executed, n, "")
			return
		}
		r.pendings = append(r.pendings, pendingWrite{write: n, done: func() { end(executed, n, "") }})
		r.spread(n)
		a.process.After(writeWaits, func() { end(unknown, n, "a secondary did not take it in time") })
	})
}

// passOn gives a request to the target of the move; it is held until its time is over if the target does not take it.
func (r *replica) passOn(q request) {
	a, w := r.app, r.app.w
	under, to := r.Under, w.hostOf(r.peer.Server)
	patience := q.patience
	call[response]{from: a.host.at, to: to.at, timeout: max(patience, time.Millisecond),
		serve: func(answer func(response)) {
			if app := to.app; app.lives() {
				app.process.Do(func() {
					app.request(request{shard: q.shard, forward: under, patience: patience, answer: answer})
				})
			} else if to.up {
				answer(response{verdict: notExecuted, why: "connection refused"})
			}
		},
		done: func(p response, ok bool) {
			switch {
			case !ok:
				q.answer(response{verdict: unknown, why: "the target did not answer"})
			case p.verdict == notExecuted && patience > forwardAgain:
				again := q
				again.patience = patience - forwardAgain
				a.process.After(forwardAgain, func() { a.request(again) })
			default:
				q.answer(p)
			}
		},
	}.make(w, a.process)
}

// storage is a store of applications' data that checks terms. It never fails.
type storage struct {
	terms  map[shard.ID]shard.Term
	writes map[shard.ID]int64
}

func newStorage() *storage {
	return &storage{terms: map[shard.ID]shard.Term{}, writes: map[shard.ID]int64{}}
}

// raise takes the right to write; false if a higher term has it.
func (s *storage) raise(id shard.ID, t shard.Term) bool {
	if t < s.terms[id] {
		return false
	}
	s.terms[id] = t
	return true
}

// write is one more write; false if a higher term has the right to it.
func (s *storage) write(id shard.ID, t shard.Term) (int64, bool) {
	if t != s.terms[id] {
		return 0, false
	}
	s.writes[id]++
	return s.writes[id], true
}
