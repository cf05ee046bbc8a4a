package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// Times of an allocator (allocator/election.go).
const (
	allocatorTTL   = 10 * time.Second
	renewSession   = 3 * time.Second
	confirmEvery   = time.Second
	confirmRetry   = 100 * time.Millisecond
	confirmWithin  = 2 * time.Second
	acquireEvery   = time.Second
	callTimeout    = 3 * time.Second
	watchAgain     = 2 * time.Second
	aliveEvery     = 500 * time.Millisecond
	silentFor      = 2 * time.Second // of a leader, before it is unseated (PROTOCOL R16)
	betweenUnseats = 3               // times LV
)

// allocator is one allocator's machine, and its process while it runs.
type allocator struct {
	w       *World
	name    string
	at      place
	clock   *virtual.Clock
	process *virtual.Process
	old     string // session of an earlier life, from its state file: ended before the next begins

	session  string
	known    lock // as the watch showed it last
	tenure   *tenure
	acquires bool // a try is under way
	maps     *shard.Map

	heard   time.Duration // own clock when the leader answered last
	unseats time.Duration // when it unseated somebody last
}

func (a *allocator) now() shard.Instant { return a.clock.At(a.w.queue.Now()) }

// start begins the process.
func (a *allocator) start() {
	a.process = virtual.Start(&a.w.queue)
	a.session, a.tenure, a.acquires, a.known = "", nil, false, lock{}
	a.heard = a.w.queue.Now()
	a.w.say(a.name, "starts")
	a.openSession()
	a.process.Every(acquireEvery, a.look)
	a.process.Every(watchAgain, a.readLock)
	a.process.Every(aliveEvery, a.watchLeader)
}

// kill ends it without a word.
func (a *allocator) kill() {
	if !a.process.Alive() {
		return
	}
	a.w.say(a.name, "killed")
	a.process.Kill()
	a.old = a.session
	if t := a.tenure; t != nil {
		a.tenure = nil
		t.drop(true)
	}
}

// openSession ends the session of an earlier life and begins one.
func (a *allocator) openSession() {
	s := a.w.store
	call[string]{from: a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(string)) {
			s.process.Do(func() {
				s.destroy(a.old)
				answer(s.createSession(allocatorTTL))
			})
		},
		done: func(id string, ok bool) {
			if !ok {
				a.process.After(renewRetry, a.openSession)
				return
			}
			a.session, a.old = id, ""
			a.keep(id)
			a.look()
		},
	}.make(a.w, a.process)
}

const renewRetry = 500 * time.Millisecond

// keep renews a session until the store says that it is gone.
func (a *allocator) keep(id string) {
	s := a.w.store
	a.process.After(renewSession, func() {
		call[bool]{from: a.at, to: theStore, timeout: callTimeout,
			serve: func(answer func(bool)) { s.process.Do(func() { answer(s.renew(id)) }) },
			done: func(lives, ok bool) {
				switch {
				case a.session != id:
				case ok && !lives:
					a.w.say(a.name, "its session %s is gone", id)
					a.stepDown("its session is gone")
				default:
					a.keep(id)
				}
			},
		}.make(a.w, a.process)
	})
}

// stepDown ends a leadership without the clean mark, and begins anew with another session.
func (a *allocator) stepDown(why string) {
	if t := a.tenure; t != nil {
		a.tenure = nil
		a.w.say(a.name, "no longer leads: %s", why)
		t.drop(false)
	}
	a.old, a.session = a.session, ""
	a.openSession()
}

// look takes the lock if it is free: what was read before says whether its predecessor left in order (PROTOCOL R1).
func (a *allocator) look() {
	if a.session == "" || a.tenure != nil || a.acquires || a.known.session != "" {
		return
	}
	a.acquires = true
	s, id := a.w.store, a.session
	call[lock]{from: a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(lock)) { s.process.Do(func() { answer(s.lock) }) },
		done: func(seen lock, ok bool) {
			if a.acquires = ok && seen.session == "" && a.session == id; a.acquires {
				a.acquire(id, seen)
			} else if ok {
				a.known = seen
			}
		},
	}.make(a.w, a.process)
}

func (a *allocator) acquire(id string, seen lock) {
	type result struct {
		now lock
		ok  bool
	}
	s := a.w.store
	call[result]{from: a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(result)) {
			s.process.Do(func() {
				now, ok := s.acquire(id, a.at, seen)
				answer(result{now, ok})
			})
		},
		done: func(r result, ok bool) {
			a.acquires = false
			switch {
			case a.session != id:
			case !ok: // nobody knows who has the lock: the session must end first
				a.stepDown("it is not known who has the lock")
			case r.ok:
				a.tenure = newTenure(a, r.now, seen.clean)
			}
		},
	}.make(a.w, a.process)
}

// release gives the lock up with the clean mark; where nobody knows whether that arrived, the session ends.
func (a *allocator) release(id string) {
	s := a.w.store
	call[bool]{from: a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(bool)) {
			s.process.Do(func() {
				s.release(id)
				answer(true)
			})
		},
		done: func(_, ok bool) {
			if !ok && a.session == id {
				a.stepDown("it is not known whether the lock was given up")
			}
		},
	}.make(a.w, a.process)
}

// readLock asks anew what the watch says, in case its news was lost.
func (a *allocator) readLock() {
	s := a.w.store
	call[lock]{from: a.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(lock)) { s.process.Do(func() { answer(s.lock) }) },
		done: func(l lock, ok bool) {
			if ok {
				a.lockSeen(l)
			}
		},
	}.make(a.w, a.process)
}

// lockSeen is the watch's word.
func (a *allocator) lockSeen(l lock) {
	a.known = l
	if l.session == "" {
		a.look()
	}
}

// watchLeader asks the leader for a sign of life; one that agents do not hear of either is unseated (PROTOCOL R16).
func (a *allocator) watchLeader() {
	leader := a.w.allocatorAt(a.known.holder)
	if a.tenure != nil || a.known.session == "" || leader == nil || leader == a {
		a.heard = a.w.queue.Now()
		return
	}
	call[bool]{from: a.at, to: leader.at, timeout: aliveEvery,
		serve: func(answer func(bool)) { leader.process.Do(func() { answer(true) }) },
		done: func(_, ok bool) {
			if ok {
				a.heard = a.w.queue.Now()
			}
		},
	}.make(a.w, a.process)
	settings := a.w.settings
	silent := a.w.queue.Now()-a.heard > silentFor
	if silent && a.w.queue.Now()-a.unseats > betweenUnseats*settings.LeaderValidity && a.w.unheard(a, leader) {
		a.unseats = a.w.queue.Now()
		s, id := a.w.store, a.known.session
		a.w.say(a.name, "unseats %s, which nobody heard of for %s", leader.name, silentFor)
		a.process.After(a.w.chance.UpTo(time.Second), func() {
			a.w.net.carry(a.at, theStore, func() { s.process.Do(func() { s.destroy(id) }) })
		})
	}
}
