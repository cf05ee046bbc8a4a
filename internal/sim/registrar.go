package sim

import (
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// registrar does an agent's work on its file, key and session, as agent/registrar.go does: what must not overtake each other one after the other.
type registrar struct {
	g     *agent
	queue []roster.StoreOp
	busy  bool
}

func (r *registrar) do(op roster.StoreOp) {
	switch op := op.(type) {
	case roster.ReadKey:
		r.read(op)
		return
	case roster.RenewSession:
		r.renew(op)
		return
	case roster.Save, roster.RegisterKey, roster.DestroySession:
	}
	r.queue = append(r.queue, op)
	r.next()
}

// next takes up what waits, unless something is under way.
func (r *registrar) next() {
	if r.busy || len(r.queue) == 0 || !r.g.process.Alive() {
		return
	}
	r.busy = true
	switch op := r.queue[0].(type) {
	case roster.Save:
		r.g.process.After(r.g.host.disk.takes(), func() {
			r.done(roster.FileSaved{Saved: op.Saved, Err: r.g.host.save(op.Saved)})
		})
	case roster.RegisterKey:
		r.register(op)
	case roster.DestroySession:
		r.destroy(op.Session, func(ok bool) {
			ev := roster.SessionDestroyed{Session: op.Session}
			if !ok {
				ev.Err = "the store does not answer"
			}
			r.done(ev)
		})
	case roster.ReadKey, roster.RenewSession:
	}
}

// done answers the operation under way and goes on with the next.
func (r *registrar) done(ev roster.Event) {
	r.queue, r.busy = r.queue[1:], false
	r.g.step(ev)
	r.next()
}

// toStore is a call of the store's.
func toStore[T any](r *registrar, serve func(*store) T, done func(T, bool)) {
	s := r.g.w.store
	call[T]{from: r.g.host.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(T)) { s.process.Do(func() { answer(serve(s)) }) }, done: done,
	}.make(r.g.w, r.g.process)
}

func (r *registrar) read(op roster.ReadKey) {
	want := op.Saved
	toStore(r, func(s *store) roster.KeyRead {
		key, found := s.keys[r.g.id]
		read := roster.KeyRead{Incarnation: want.Incarnation, State: roster.KeyGone, Why: "absent"}
		if !found {
			return read
		}
		read.Why = "held by incarnation " + key.Server.Incarnation.String()
		if key.Session == want.Session && key.Server.Incarnation == want.Incarnation && (want.Create == 0 || key.Create == want.Create) {
			read.State, read.Why = roster.KeyOurs, ""
			r.g.w.vouch(ledger.Owner{Server: r.g.id, Incarnation: want.Incarnation}, r.g.w.settings.Validity)
		}
		return read
	}, func(read roster.KeyRead, ok bool) {
		if !ok {
			read = roster.KeyRead{Incarnation: want.Incarnation, State: roster.KeyUnknown, Why: "the store does not answer"}
		}
		r.g.step(read)
	})
}

func (r *registrar) renew(op roster.RenewSession) {
	toStore(r, func(s *store) bool { return s.renew(op.Session) }, func(lives, ok bool) {
		ev := roster.SessionRenewed{Session: op.Session, Lost: ok && !lives}
		if !ok {
			ev.Err = "the store does not answer"
		}
		r.g.step(ev)
	})
}

func (r *registrar) destroy(session string, done func(ok bool)) {
	if session == "" {
		done(true)
		return
	}
	toStore(r, func(s *store) bool {
		s.destroy(session)
		return true
	}, func(_, ok bool) { done(ok) })
}

// register begins an incarnation: the earlier session ends, a new one begins, then the file, then the key (PROTOCOL R2).
func (r *registrar) register(op roster.RegisterKey) {
	refused := roster.KeyRefused{Incarnation: op.Server.Incarnation, Session: op.Old}
	r.destroy(op.Old, func(ok bool) {
		if !ok {
			refused.Why = "the earlier session cannot be ended"
			r.done(refused)
			return
		}
		refused.Session = ""
		toStore(r, func(s *store) string { return s.createSession(serverTTL) }, func(session string, ok bool) {
			if !ok {
				refused.Why = "the store does not answer"
				r.done(refused)
				return
			}
			refused.Session = session
			saved := roster.Saved{Incarnation: op.Server.Incarnation, Session: session, Process: op.Process, Highest: op.Highest}
			if why := r.g.host.save(saved); why != "" {
				refused.Why = why
				r.done(refused)
				return
			}
			r.createKey(op, session, refused)
		})
	})
}

// serverTTL is that of servers' sessions.
const serverTTL = 25e9

// createKey creates the key exactly once; without an answer it is read until it is known who holds it (PROTOCOL R12).
func (r *registrar) createKey(op roster.RegisterKey, session string, refused roster.KeyRefused) {
	type created struct {
		create uint64
		holder string
	}
	result := func(c created) {
		if c.create != 0 {
			r.done(roster.KeyRegistered{Incarnation: op.Server.Incarnation, Session: session, Create: c.create})
			return
		}
		refused.Why, refused.Holder = "the key is not ours", c.holder
		r.destroy(session, func(ok bool) {
			if ok {
				refused.Session = ""
			}
			r.done(refused)
		})
	}
	var look func()
	look = func() {
		toStore(r, func(s *store) created {
			key, found := s.keys[r.g.id]
			switch {
			case found && key.Session == session:
				return created{create: key.Create}
			case found:
				return created{holder: key.Server.Incarnation.String()}
			}
			return created{}
		}, func(c created, ok bool) {
			if !ok {
				r.g.process.After(retryPause, look)
				return
			}
			result(c)
		})
	}
	key := ledger.Registration{Server: op.Server, Session: session, Ended: append([]shard.Incarnation(nil), op.Ended...)}
	toStore(r, func(s *store) created {
		create, holder := s.register(key)
		return created{create, holder}
	}, func(c created, ok bool) {
		if !ok {
			look()
			return
		}
		result(c)
	})
}
