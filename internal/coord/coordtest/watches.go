package coordtest

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// follower is a watch under way; the suite waits for states that it must deliver.
type follower struct {
	suite  *suite
	states chan []coord.Entry
	ended  chan error
	cancel context.CancelFunc
}

func (s *suite) watch(prefix string) *follower {
	ctx, cancel := context.WithCancel(s.Context())
	f := &follower{suite: s, states: make(chan []coord.Entry, 1024), ended: make(chan error, 1), cancel: cancel}
	var running atomic.Bool
	go func() {
		f.ended <- s.Store.Watch(ctx, prefix, func(entries []coord.Entry) {
			if running.Swap(true) {
				s.Error("watch: called concurrently")
			}
			defer running.Store(false)
			select {
			case f.states <- entries:
			default:
				s.Error("watch: more calls than the test has room for")
			}
		})
	}()
	s.Cleanup(func() { f.end() })
	return f
}

func (f *follower) end() {
	f.cancel()
	select {
	case err := <-f.ended:
		f.ended <- err
	case <-time.After(patience):
		f.suite.Error("watch: goes on after its context ended")
	}
}

// until waits for a state that holds, whatever comes before.
func (f *follower) until(what string, holds func(map[string]coord.Entry) bool) {
	f.suite.Helper()
	deadline := time.After(patience)
	for {
		select {
		case entries := <-f.states:
			byKey := map[string]coord.Entry{}
			for i, e := range entries {
				byKey[e.Key] = e
				if i > 0 && entries[i-1].Key >= e.Key {
					f.suite.Fatalf("watch: %s after %s, want key order", e.Key, entries[i-1].Key)
				}
			}
			if holds(byKey) {
				return
			}
		case <-deadline:
			f.suite.Fatalf("watch: %s: not within %s", what, patience)
		}
	}
}

func hasValue(key, value string) func(map[string]coord.Entry) bool {
	return func(state map[string]coord.Entry) bool {
		entry, ok := state[key]
		return ok && string(entry.Value) == value
	}
}

func lacks(key string) func(map[string]coord.Entry) bool {
	return func(state map[string]coord.Entry) bool {
		_, ok := state[key]
		return !ok
	}
}

func watchTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"the whole prefix comes first, also if empty": func(s *suite) {
			s.watch("none/").until("first state", func(state map[string]coord.Entry) bool { return len(state) == 0 })
			s.txn(set("p/a", "1"), set("p/b", "2"), set("q", "3"))
			s.watch("p/").until("first state", func(state map[string]coord.Entry) bool {
				_, other := state["q"]
				return len(state) == 2 && !other && hasValue("p/a", "1")(state) && hasValue("p/b", "2")(state)
			})
		},
		"writes, locks and deletes are delivered": func(s *suite) {
			f := s.watch("p/")
			f.until("first state", lacks("p/a"))
			at := s.set("p/a", "1")
			f.until("the write", func(state map[string]coord.Entry) bool {
				return hasValue("p/a", "1")(state) && state["p/a"].Modify == at && state["p/a"].Create == at
			})
			id := s.session(coord.Release)
			s.txn(lock("p/a", "2", id))
			f.until("the lock", func(state map[string]coord.Entry) bool { return state["p/a"].Session == id })
			s.txn(unlock("p/a", "3", id))
			f.until("the unlock", func(state map[string]coord.Entry) bool {
				return hasValue("p/a", "3")(state) && state["p/a"].Session == ""
			})
			s.txn(coord.Op{Verb: coord.Delete, Key: "p/a"})
			f.until("the delete", lacks("p/a"))
		},
		"the end of a session is delivered": func(s *suite) {
			destroyed := s.session(coord.DeleteKeys)
			s.txn(lock("p/a", "1", destroyed), set("p/c", "1"))
			f := s.watch("p/")
			f.until("first state", hasValue("p/a", "1"))
			s.destroy(destroyed)
			f.until("the delete", func(state map[string]coord.Entry) bool { return lacks("p/a")(state) && hasValue("p/c", "1")(state) })
			if s.Pass == nil {
				return
			}
			expired := s.session(coord.DeleteKeys)
			s.txn(lock("p/b", "1", expired))
			f.until("the lock", hasValue("p/b", "1"))
			s.Pass(s.TTL * 21 / 10)
			f.until("the expiry", lacks("p/b"))
		},
		"the last of many changes is delivered": func(s *suite) {
			f := s.watch("p/")
			const last = 200
			for i := range last + 1 {
				s.set("p/n", strconv.Itoa(i))
			}
			f.until("the last", hasValue("p/n", strconv.Itoa(last)))
		},
		"it ends with its context": func(s *suite) {
			f := s.watch("p/")
			f.until("first state", lacks("p/a"))
			f.end()
			if err := <-f.ended; !errors.Is(err, context.Canceled) {
				s.Errorf("watch: got %v, want %v", err, context.Canceled)
			}
			f.ended <- nil
		},
	}
}
