package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/generation"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// Times of a restore.
const (
	copyIsOld    = 30 * time.Second  // at most, when it is put back
	restoreTakes = 110 * time.Second // at most: a killed leader's session ends, every lease and rest lease is over, shards are placed
)

// backup is a copy of what the store had, but for what belongs to incarnations and leaders.
type backup struct {
	spec       ledger.Spec
	rows       []ledger.Row
	of         *store // drains, marks and events alone
	generation uint64
}

// drawRestore is the seed's restore, in a part of the runs in which failures happen. It changes nothing about the other faults of the seed.
func (w *World) drawRestore() []Fault {
	c := virtual.NewChance(w.opt.Seed, purposeRestore)
	room := w.opt.Duration - w.calmFor() - restoreTakes - copyIsOld - firstFault
	if w.planned || room <= 0 || c.IntN(4) > 0 {
		return nil
	}
	return []Fault{{At: firstFault + c.UpTo(room), For: c.Span(time.Second, copyIsOld), Kind: "operator restores a snapshot", B: c.IntN(1000)}}
}

// restores are operators who take a copy, and put it back later.
func restores() []kind {
	return []kind{{name: "operator restores a snapshot", most: copyIsOld, begin: func(w *World, f Fault) func() {
		saved := w.store.copied()
		return func() {
			at := place(1 + len(w.allocators) + len(w.hosts) + len(w.clients))
			w.net.region[at] = "eu"
			r := &restorer{w: w, at: at, clock: virtual.NewClock(time.Hour, time.Hour, virtual.Rates{Boot: mostDrift, Raw: mostDrift}), saved: saved, kills: f.B%2 == 0}
			r.process = virtual.Start(&w.queue)
			r.begin()
		}
	}}}
}

// restorer is the process of an operator that puts a copy back: what allocator/restore does.
type restorer struct {
	w       *World
	at      place
	clock   *virtual.Clock
	process *virtual.Process
	saved   backup
	kills   bool // allocators are killed, and not asked to stop

	session  string
	acquired shard.Instant
	clean    bool
}

func (r *restorer) now() shard.Instant { return r.clock.At(r.w.queue.Now()) }

// ask does something at the store, until an answer comes; all of it may be done twice.
func ask[T any](r *restorer, serve func(*store) T, then func(T)) {
	s := r.w.store
	call[T]{from: r.at, to: theStore, timeout: callTimeout,
		serve: func(answer func(T)) { s.process.Do(func() { answer(serve(s)) }) },
		done: func(got T, ok bool) {
			if !ok {
				r.process.After(retryPause, func() { ask(r, serve, then) })
				return
			}
			then(got)
		},
	}.make(r.w, r.process)
}

// begin stops every allocator, and takes the lock once it is free. Whoever loses it begins again.
func (r *restorer) begin() {
	if r.w.quiet && !r.w.store.restoring { // it never got as far as to change anything
		return
	}
	for _, a := range r.w.allocators {
		if t := a.tenure; t != nil && !r.kills && a.process.Runs() {
			t.step(ledger.StopRequested{})
		}
	}
	r.process.After(time.Second, func() {
		for _, a := range r.w.allocators {
			a.kill()
		}
		ask(r, func(s *store) string { return s.createSession(10 * allocatorTTL) }, func(id string) {
			r.session = id
			ask(r, func(s *store) lock { return s.lock }, r.acquire)
		})
	})
}

func (r *restorer) acquire(seen lock) {
	type result struct {
		lock lock
		ok   bool
	}
	ask(r, func(s *store) result {
		if s.lock.session == r.session {
			return result{s.lock, true}
		}
		got, ok := s.acquire(r.session, r.at, seen)
		return result{got, ok}
	}, func(got result) {
		if !got.ok { // somebody leads still, or again
			r.begin()
			return
		}
		r.acquired, r.clean = r.now(), seen.clean
		r.w.say("operator", "restores a snapshot: holds the lock, clean %t", r.clean)
		ask(r, func(s *store) bool { return s.beginRestore(r.session, r.saved.generation) }, r.marked)
	})
}

func (r *restorer) marked(ok bool) {
	if !ok {
		r.begin()
		return
	}
	ask(r, func(s *store) bool { return s.endAll(r.session) }, func(ok bool) {
		if !ok {
			r.begin()
			return
		}
		r.wait(r.now())
	})
}

// wait lasts until every lease is over that any leader granted, or the store vouched for.
func (r *restorer) wait(ended shard.Instant) {
	settings := r.w.settings
	end := settings.LeasesEnd(shard.LaterOf(ended, settings.PredecessorsEnd(r.acquired, r.clean)), r.w.store.longestRest())
	var look func()
	look = func() {
		if !end.Passed(r.now()) {
			r.process.After(leaderTick, look)
			return
		}
		ask(r, func(s *store) bool { return s.restore(r.session, r.saved) }, func(ok bool) {
			r.w.say("operator", "has restored a snapshot, generation %d: %t", r.w.store.generation, ok)
			if !ok {
				r.begin()
				return
			}
			for _, a := range r.w.allocators {
				a.back()
			}
		})
	}
	look()
}

// copied is a copy of what is stored.
func (s *store) copied() backup {
	of := &store{drains: maps.Clone(s.drains), probations: maps.Clone(s.probations), quarantines: maps.Clone(s.quarantines), events: maps.Clone(s.events)}
	for id, e := range of.events {
		of.events[id] = e.Clone()
	}
	return backup{spec: *s.spec, rows: slices.Clone(s.rows), of: of, generation: s.generation}
}

// beginRestore stores the next generation, unfinished (PROTOCOL R14). Whoever has lost the lock changes nothing.
func (s *store) beginRestore(session string, saved uint64) bool {
	if s.lock.session != session {
		return false
	}
	if next, err := generation.Next(s.generation, saved); err == nil {
		s.index++
		s.generation, s.restoring = next, true
	}
	return true
}

// endAll deletes the keys of servers.
func (s *store) endAll(session string) bool {
	if s.lock.session != session {
		return false
	}
	s.index++
	clear(s.keys)
	return true
}

func (s *store) longestRest() (longest time.Duration) {
	for _, r := range s.rests {
		longest = max(longest, r.Length)
	}
	return longest
}

// restore writes everything, takes the mark away and gives the lock up in order.
func (s *store) restore(session string, saved backup) bool {
	if s.lock.session != session {
		return !s.restoring
	}
	for _, rows := range [][]ledger.Row{s.rows, saved.rows} { // nobody whom any row names may have a lease
		for i := range rows {
			for _, o := range rows[i].Owners() {
				if o.Incarnation != 0 {
					s.w.observe(promise.Over{Owner: o, Why: "a snapshot is restored"})
				}
			}
		}
	}
	s.index++
	s.apply(ledger.PutSpec{Spec: saved.spec}, s.w.queue.Now())
	for i := range saved.rows {
		s.write(i, saved.rows[i].Anew(s.generation))
	}
	s.w.observe(promise.Committed{})
	clear(s.fences)
	clear(s.rests)
	s.drains, s.probations, s.quarantines, s.events = saved.of.drains, saved.of.probations, saved.of.quarantines, saved.of.events
	s.restoring = false
	s.release(session)
	return true
}
