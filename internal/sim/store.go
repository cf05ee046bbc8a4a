package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// store is the coordination store: what it answers is consistent, a transaction happens as a whole at one instant, and sessions end some time
// after their TTL. What it answers may not arrive.
type store struct {
	w        *World
	process  *virtual.Process
	index    uint64
	number   int
	sessions map[string]*session
	full     int // refuses writes, for so many reasons

	keys     map[shard.ServerID]ledger.Registration
	lock     lock
	sequence sequence

	generation uint64 // of what is stored (PROTOCOL R14)
	restoring  bool   // nobody leads

	spec        *ledger.Spec
	rows        []ledger.Row
	fences      map[shard.ServerID]ledger.Fence
	rests       map[shard.ServerID]ledger.Rest
	drains      map[shard.ServerID]bool
	probations  map[shard.ServerID]probation.Probation
	quarantines map[shard.ID]probation.Quarantine
	events      map[string]event.Event
}

type session struct {
	ttl     time.Duration
	renewed time.Duration
}

// lock is the leader's key.
type lock struct {
	session    string // empty: free
	holder     place
	generation uint64 // of the epoch of whoever holds it
	modify     uint64 // index of the newest change; 0: it never was
	acquire    uint64 // index of the newest acquire
	clean      bool
}

// sequence is the key that every transaction of a leader writes (PROTOCOL R12).
type sequence struct {
	modify uint64
	epoch  shard.Epoch
	number uint64
}

func newStore(w *World) *store {
	s := &store{
		w: w, process: virtual.Start(&w.queue), sessions: map[string]*session{}, keys: map[shard.ServerID]ledger.Registration{},
		fences: map[shard.ServerID]ledger.Fence{}, rests: map[shard.ServerID]ledger.Rest{}, drains: map[shard.ServerID]bool{},
		probations: map[shard.ServerID]probation.Probation{}, quarantines: map[shard.ID]probation.Quarantine{}, events: map[string]event.Event{},
	}
	s.process.Every(time.Second, s.expire)
	return s
}

// expire ends sessions: nobody renewed them for once to twice their TTL, as in Consul.
func (s *store) expire() {
	for _, id := range shard.SortedKeys(s.sessions) {
		if e := s.sessions[id]; s.w.queue.Now()-e.renewed > 2*e.ttl {
			s.w.say("store", "session %s ended: not renewed for %s", id, 2*e.ttl)
			s.destroy(id)
		}
	}
}

func (s *store) createSession(ttl time.Duration) string {
	s.number++
	id := fmt.Sprintf("s%d", s.number)
	s.sessions[id] = &session{ttl: ttl, renewed: s.w.queue.Now()}
	return id
}

func (s *store) renew(id string) bool {
	if e := s.sessions[id]; e != nil {
		e.renewed = s.w.queue.Now()
		return true
	}
	return false
}

// destroy ends a session: a server's key under it goes, and the lock is free.
func (s *store) destroy(id string) {
	if s.sessions[id] == nil {
		return
	}
	delete(s.sessions, id)
	for _, server := range shard.SortedKeys(s.keys) {
		if s.keys[server].Session == id {
			s.index++
			delete(s.keys, server)
		}
	}
	if s.lock.session == id {
		s.index++
		s.lock.session, s.lock.modify = "", s.index
		s.w.lockChanged()
	}
}

// register creates a server's key, if there is none.
func (s *store) register(r ledger.Registration) (create uint64, holder string) {
	if had, ok := s.keys[r.Server.ID]; ok {
		return 0, had.Server.Incarnation.String()
	}
	if s.sessions[r.Session] == nil || s.full > 0 {
		return 0, ""
	}
	s.index++
	r.Create = s.index
	s.keys[r.Server.ID] = r
	return r.Create, ""
}

// acquire takes the lock if it is as it was read. No allocator gets it while a restore has not ended.
func (s *store) acquire(id string, holder place, seen lock) (lock, bool) {
	if s.lock != seen || s.lock.session != "" || s.sessions[id] == nil || s.restoring && s.w.allocatorAt(holder) != nil {
		return lock{}, false
	}
	s.index++
	s.lock = lock{session: id, holder: holder, generation: s.generation, modify: s.index, acquire: s.index}
	s.w.lockChanged()
	return s.lock, true
}

// release gives the lock up with the clean mark.
func (s *store) release(id string) {
	if s.lock.session == id {
		s.index++
		s.lock = lock{modify: s.index, acquire: s.lock.acquire, clean: true}
		s.w.lockChanged()
	}
}

// load is everything, for a new leader.
func (s *store) load() ledger.Loaded {
	l := ledger.Loaded{Probations: maps.Clone(s.probations), Drains: shard.SortedKeys(s.drains)}
	if s.spec != nil {
		rows := slices.Clone(s.rows)
		for i := range rows {
			rows[i].PrimaryMove, rows[i].MembersTold = 0, 0 // not stored
		}
		l.Apps = []ledger.AppState{{Spec: *s.spec, Rows: rows}}
	}
	for _, id := range shard.SortedKeys(s.keys) {
		l.Registered = append(l.Registered, s.keys[id])
	}
	for _, id := range shard.SortedKeys(s.fences) {
		l.Fences = append(l.Fences, s.fences[id])
	}
	for _, id := range shard.SortedKeys(s.rests) {
		l.Rests = append(l.Rests, s.rests[id])
	}
	for _, id := range shard.SortedKeys(s.quarantines) {
		l.Quarantines = append(l.Quarantines, s.quarantines[id])
	}
	for _, id := range shard.SortedKeys(s.events) {
		e := s.events[id]
		l.Events = append(l.Events, e.Clone())
	}
	return l
}

func (s *store) registrations() (list []ledger.Registration) {
	for _, id := range shard.SortedKeys(s.keys) {
		list = append(list, s.keys[id])
	}
	return list
}
