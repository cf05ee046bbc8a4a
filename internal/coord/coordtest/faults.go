package coordtest

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/shardmanager/shardmanager/internal/coord"
)

func restartTests() map[string]func(*suite) {
	restart := func(s *suite) {
		s.Helper()
		s.needs("restart", s.Restart != nil)
		s.Store = s.Restart()
	}
	return map[string]func(*suite){
		"everything is there again and indexes go on": func(s *suite) {
			s.needs("restart", s.Restart != nil)
			id := s.session(coord.Release)
			s.txn(set("a", "1"), lock("b", "2", id))
			last := s.txn(coord.Op{Verb: coord.Delete, Key: "a"}, set("c", "3"))
			before := s.list("")
			restart(s)
			s.equal("entries", s.list(""), before)
			s.above("first write", s.set("d", "4"), last)
			s.conflict(0, cas("c", "5", last-1))
			s.txn(cas("c", "5", last))
			s.renew(id, true)
			s.txn(checkSession("b", id), unlock("b", "6", id))
		},
		"indexes go on also after the last change was a session's end": func(s *suite) {
			s.needs("restart", s.Restart != nil)
			id := s.session(coord.Release)
			s.txn(lock("a", "1", id))
			s.destroy(id)
			at := s.mustGet("a", "1").Modify
			restart(s)
			s.renew(id, false)
			s.above("first write", s.set("b", "1"), at)
		},
		"timers of sessions restart in full": func(s *suite) {
			s.needs("restart", s.Restart != nil)
			s.needs("passing of time", s.Pass != nil)
			id := s.session(coord.DeleteKeys)
			s.txn(lock("k", "1", id))
			s.Pass(s.TTL * 3 / 2)
			restart(s)
			s.Pass(s.TTL * 3 / 2)
			s.equal("holder", s.mustGet("k", "1").Session, id)
			s.Pass(s.TTL * 3 / 5)
			s.eventually("the end of the session", func() bool { _, there := s.get("k"); return !there })
		},
		"a watch goes on": func(s *suite) {
			s.needs("restart", s.Restart != nil)
			s.needs("connection", s.LoseAnswers != nil) // a watch inside the store's process ends with it
			s.txn(set("p/a", "1"), set("p/b", "1"))
			f := s.watch("p/")
			f.until("first state", hasValue("p/a", "1"))
			restart(s)
			s.eventually("a write", func() bool {
				_, err := s.Store.Txn(s.ctx(), []coord.Op{set("p/a", "2"), {Verb: coord.Delete, Key: "p/b"}})
				return err == nil
			})
			f.until("the write and the delete", func(state map[string]coord.Entry) bool {
				return hasValue("p/a", "2")(state) && lacks("p/b")(state)
			})
		},
	}
}

func concurrencyTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"counters by compare and set lose nothing": func(s *suite) {
			const workers, rounds = 8, 25
			s.set("n", "0")
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					for range rounds {
						s.increment("n")
					}
				})
			}
			all.Wait()
			s.mustGet("n", strconv.Itoa(workers*rounds))
		},
		"one of many takes the lock": func(s *suite) {
			const contenders = 8
			ids := make([]coord.SessionID, contenders)
			for i := range ids {
				ids[i] = s.session(coord.Release)
			}
			won := make(chan coord.SessionID, contenders)
			var all sync.WaitGroup
			for _, id := range ids {
				all.Go(func() {
					_, err := s.Store.Txn(s.ctx(), []coord.Op{lock("leader", string(id), id)})
					var conflict *coord.ConflictError
					switch {
					case err == nil:
						won <- id
					case !errors.As(err, &conflict):
						s.Errorf("lock: got %v, want a conflict", err)
					}
				})
			}
			all.Wait()
			s.equal("winners", len(won), 1)
			s.equal("holder", s.mustGet("leader", string(<-won)).Session != "", true)
		},
	}
}

// increment adds one to a counter; a conflict means that another was faster.
func (s *suite) increment(key string) {
	for {
		entry, _, err := s.Store.Get(s.ctx(), key)
		if err != nil {
			s.Errorf("get %s: %v", key, err)
			return
		}
		n, err := strconv.Atoi(string(entry.Value))
		if err != nil {
			s.Errorf("counter: %v", err)
			return
		}
		_, err = s.Store.Txn(s.ctx(), []coord.Op{cas(key, strconv.Itoa(n+1), entry.Modify)})
		var conflict *coord.ConflictError
		switch {
		case err == nil:
			return
		case !errors.As(err, &conflict):
			s.Errorf("transaction: %v", err)
			return
		}
	}
}

func outcomeTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"a lost answer is an unknown outcome, and a guarded write decides it": func(s *suite) {
			s.needs("losing of answers", s.LoseAnswers != nil)
			before := s.txn(set("sequence", "1"))
			s.LoseAnswers(true)
			_, err := s.Store.Txn(s.ctx(), []coord.Op{cas("sequence", "2", before), set("data", "2")})
			if !errors.Is(err, coord.ErrUnknown) {
				s.Fatalf("transaction: got %v, want ErrUnknown", err)
			}
			s.LoseAnswers(false)
			entry, _ := s.get("sequence")
			s.txn(cas("sequence", "3", entry.Modify)) // from here on the lost transaction cannot commit any more (PROTOCOL R12)
			s.conflict(0, cas("sequence", "2", before), set("data", "late"))
			_, there := s.get("data")
			s.equal("data is there if the sequence said so", there, string(entry.Value) == "2")
		},
		"an unanswered read is no unknown outcome": func(s *suite) {
			s.needs("losing of answers", s.LoseAnswers != nil)
			s.set("k", "1")
			s.LoseAnswers(true)
			_, _, err := s.Store.Get(s.ctx(), "k")
			if !errors.Is(err, coord.ErrUnavailable) || errors.Is(err, coord.ErrUnknown) {
				s.Fatalf("get: got %v, want ErrUnavailable", err)
			}
		},
		"what cannot be sent did not happen": func(s *suite) {
			s.needs("cutting off", s.Unreachable != nil)
			s.Unreachable()
			_, err := s.Store.Txn(s.ctx(), []coord.Op{set("k", "1")})
			s.unavailable("transaction", err)
			_, _, err = s.Store.Get(s.ctx(), "k")
			s.unavailable("get", err)
			_, err = s.Store.List(s.ctx(), "")
			s.unavailable("list", err)
			_, err = s.Store.CreateSession(s.ctx(), coord.SessionSpec{TTL: s.TTL, Behavior: coord.Release})
			s.unavailable("create session", err)
		},
		"a context that has ended sends nothing": func(s *suite) {
			ctx, cancel := context.WithCancel(s.Context())
			cancel()
			_, err := s.Store.Txn(ctx, []coord.Op{set("k", "1")})
			s.unavailable("transaction", err)
			if !errors.Is(err, context.Canceled) {
				s.Errorf("transaction: got %v, want it to wrap %v", err, context.Canceled)
			}
			_, _, err = s.Store.Get(ctx, "k")
			s.unavailable("get", err)
			s.absent("k")
		},
	}
}

func (s *suite) unavailable(what string, err error) {
	s.Helper()
	if !errors.Is(err, coord.ErrUnavailable) || errors.Is(err, coord.ErrUnknown) {
		s.Fatalf("%s: got %v, want ErrUnavailable", what, err)
	}
}
