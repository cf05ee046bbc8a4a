package coordtest

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
)

func lockTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"a lock by a second session fails": func(s *suite) {
			a, b := s.session(coord.Release), s.session(coord.Release)
			first := s.txn(lock("k", "a", a))
			s.equal("holder", s.mustGet("k", "a").Session, a)
			s.conflict(0, lock("k", "b", b))
			entry := s.mustGet("k", "a")
			s.equal("holder", entry.Session, a)
			s.equal("modify", entry.Modify, first)
		},
		"a lock by its own session writes": func(s *suite) {
			a := s.session(coord.Release)
			first := s.txn(lock("k", "1", a))
			second := s.txn(lock("k", "2", a))
			s.equal("entry", s.mustGet("k", "2"), coord.Entry{Key: "k", Value: []byte("2"), Create: first, Modify: second, Session: a})
		},
		"a lock needs a living session": func(s *suite) {
			dead := s.session(coord.Release)
			s.destroy(dead)
			s.conflict(0, lock("k", "v", dead))
			s.absent("k")
		},
		"only the holder unlocks": func(s *suite) {
			a, b := s.session(coord.Release), s.session(coord.Release)
			s.txn(lock("k", "1", a))
			s.conflict(0, unlock("k", "2", b))
			s.equal("holder", s.mustGet("k", "1").Session, a)
			released := s.txn(unlock("k", "2", a))
			entry := s.mustGet("k", "2")
			s.equal("holder", entry.Session, coord.SessionID(""))
			s.equal("modify", entry.Modify, released)
			s.conflict(0, unlock("k", "3", a))
			s.conflict(0, unlock("absent", "3", a))
			s.txn(lock("k", "4", b))
			s.equal("holder", s.mustGet("k", "4").Session, b)
		},
		"writes of others leave the lock alone": func(s *suite) {
			a := s.session(coord.Release)
			at := s.txn(lock("k", "1", a))
			s.txn(cas("k", "2", at))
			s.equal("holder", s.mustGet("k", "2").Session, a)
			s.set("k", "3")
			s.equal("holder", s.mustGet("k", "3").Session, a)
		},
		"check-session holds for the holder only": func(s *suite) {
			a, b := s.session(coord.Release), s.session(coord.Release)
			s.set("free", "1")
			s.txn(lock("k", "1", a))
			s.txn(checkSession("k", a), set("x", "1"))
			s.conflict(0, checkSession("k", b), set("x", "2"))
			s.conflict(0, checkSession("free", a), set("x", "2"))
			s.conflict(0, checkSession("absent", a), set("x", "2"))
			s.mustGet("x", "1")
			s.destroy(a)
			s.conflict(0, checkSession("k", a), set("x", "2"))
			s.mustGet("x", "1")
		},
		"a deleted key can be locked by the same session at once": func(s *suite) {
			a := s.session(coord.DeleteKeys)
			first := s.txn(coord.Op{Verb: coord.CheckNotExists, Key: "k"}, lock("k", "1", a))
			s.txn(coord.Op{Verb: coord.DeleteCAS, Key: "k", Index: first})
			s.conflict(0, checkSession("k", a))
			again := s.txn(coord.Op{Verb: coord.CheckNotExists, Key: "k"}, lock("k", "1", a))
			s.above("the second life", again, first)
			s.equal("create", s.mustGet("k", "1").Create, again)
		},
	}
}

// unseatTests is what a standby relies on that ends another's session (PROTOCOL R16).
func unseatTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"the holder whose session another destroys has lost the lock, whoever takes it next": func(s *suite) {
			a, b := s.session(coord.Release), s.session(coord.Release)
			at := s.txn(lock("k", "1", a))
			s.destroy(a)
			s.conflict(0, checkSession("k", a), set("x", "1"))
			s.conflict(0, lock("k", "2", a))
			s.conflict(0, coord.Op{Verb: coord.CheckIndex, Key: "k", Index: at}) // the release is a change of the key
			s.txn(lock("k", "3", b))
			s.destroy(a) // twice: no matter who holds the lock now
			s.equal("holder", s.mustGet("k", "3").Session, b)
			s.renew(a, false)
			s.renew(b, true)
			s.absent("x")
		},
	}
}

func sessionTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"destroying deletes or releases the keys": func(s *suite) {
			deleting, releasing := s.session(coord.DeleteKeys), s.session(coord.Release)
			s.txn(lock("gone", "1", deleting), lock("gone/too", "1", deleting))
			at := s.txn(lock("free", "1", releasing))
			s.destroy(deleting)
			s.absent("gone")
			s.absent("gone/too")
			s.destroy(releasing)
			entry := s.mustGet("free", "1")
			s.equal("holder", entry.Session, coord.SessionID(""))
			s.above("release", entry.Modify, at)
			s.equal("create", entry.Create, at)
		},
		"destroying an absent one is fine, renewing it reports false": func(s *suite) {
			id := s.session(coord.Release)
			s.renew(id, true)
			s.destroy(id)
			s.destroy(id)
			s.renew(id, false)
		},
		"one that is not renewed ends after twice its TTL": func(s *suite) {
			s.needs("passing of time", s.Pass != nil)
			deleting, releasing := s.session(coord.DeleteKeys), s.session(coord.Release)
			s.txn(lock("gone", "1", deleting), lock("free", "1", releasing))
			s.Pass(s.TTL * 19 / 10)
			s.equal("holder", s.mustGet("gone", "1").Session, deleting)
			s.equal("holder", s.mustGet("free", "1").Session, releasing)
			s.Pass(s.TTL / 5)
			s.eventually("the end of both sessions", func() bool {
				_, there := s.get("gone")
				entry, _ := s.get("free")
				return !there && entry.Session == ""
			})
			s.mustGet("free", "1")
			s.renew(deleting, false)
			s.renew(releasing, false)
			s.conflict(0, lock("gone", "2", deleting))
		},
		"one that is renewed lives": func(s *suite) {
			s.needs("passing of time", s.Pass != nil)
			id := s.session(coord.DeleteKeys)
			s.txn(lock("k", "1", id))
			for range 3 {
				s.Pass(s.TTL * 3 / 2)
				s.renew(id, true)
			}
			s.Pass(s.TTL * 3 / 2)
			s.equal("holder", s.mustGet("k", "1").Session, id)
		},
		"the end of one leaves the others' keys alone": func(s *suite) {
			a, b := s.session(coord.DeleteKeys), s.session(coord.DeleteKeys)
			s.txn(lock("a", "1", a), lock("b", "1", b), set("c", "1"))
			s.destroy(a)
			s.absent("a")
			s.equal("holder", s.mustGet("b", "1").Session, b)
			s.mustGet("c", "1")
		},
	}
}

// eventually waits for a condition that must come about.
func (s *suite) eventually(what string, holds func() bool) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; !holds(); pause = min(2*pause, 100*time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within %s", what, patience)
		}
		select {
		case <-time.After(pause):
		case <-s.Context().Done():
		}
	}
}
