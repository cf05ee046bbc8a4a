// Package coordtest is the conformance suite of coordination stores: what the package comment of coord promises, sentence by sentence,
// as tests that run against any coord.Store. The embedded store passes it in memory, on disk and over a socket; Consul must pass the same
// suite. Tests of stores call Run; nothing else does.
//
// The suite never looks behind the interface and never sleeps for luck: it waits for conditions, and time passes by Harness.Pass.
package coordtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// patience is how long the suite waits for what must happen; only a failing test waits that long.
const patience = 10 * time.Second

// Harness is one empty store and what the test may do to it. Abilities that are nil are not there; the tests that need them are skipped.
type Harness struct {
	Store coord.Store
	// TTL is the shortest TTL of a session that the store accepts.
	TTL time.Duration
	// Pass lets time pass for the store's sessions.
	Pass func(d time.Duration)
	// Restart ends the store and starts it over the same data; Store goes on to reach it, or is replaced by the result.
	Restart func() coord.Store
	// LoseAnswers makes the network take requests to the store and lose its answers, or work again.
	LoseAnswers func(lose bool)
	// Unreachable cuts the store off for good.
	Unreachable func()
}

// Run tests the stores that open makes; each test gets its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, group := range []struct {
		name  string
		tests map[string]func(*suite)
	}{
		{"transactions", transactionTests()}, {"checks", checkTests()}, {"reads", readTests()}, {"limits", limitTests()},
		{"locks", lockTests()}, {"sessions", sessionTests()}, {"unseating", unseatTests()},
		{"watches", watchTests()}, {"restarts", restartTests()}, {"concurrency", concurrencyTests()}, {"outcomes", outcomeTests()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for name, test := range group.tests {
				t.Run(name, func(t *testing.T) {
					test(&suite{T: t, Harness: open(t)})
				})
			}
		})
	}
}

// suite is one test's store, with the calls that must succeed.
type suite struct {
	*testing.T
	Harness
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

func (s *suite) needs(what string, there bool) {
	if !there {
		s.Skipf("this store's harness has no %s", what)
	}
}

func (s *suite) txn(ops ...coord.Op) coord.Index {
	s.Helper()
	index, err := s.Store.Txn(s.ctx(), ops)
	if err != nil {
		s.Fatalf("transaction %s: %v", brief(ops), err)
	}
	return index
}

// brief shows the beginning of a transaction.
func brief(ops []coord.Op) string {
	text := fmt.Sprintf("%.40v", ops)
	return text[:min(len(text), 500)]
}

func (s *suite) set(key, value string) coord.Index {
	s.Helper()
	return s.txn(coord.Op{Verb: coord.Set, Key: key, Value: []byte(value)})
}

// conflict expects that operation at does not hold, and that the error says so.
func (s *suite) conflict(at int, ops ...coord.Op) {
	s.Helper()
	_, err := s.Store.Txn(s.ctx(), ops)
	var conflict *coord.ConflictError
	if !errors.As(err, &conflict) {
		s.Fatalf("transaction %s: got %v, want a conflict at operation %d", brief(ops), err, at)
	}
	if conflict.Op != at || conflict.Key != ops[at].Key || conflict.Reason == "" {
		s.Fatalf("transaction %s: got %+v, want a conflict at operation %d, key %s, with a reason", brief(ops), conflict, at, ops[at].Key)
	}
	if errors.Is(err, coord.ErrUnknown) {
		s.Fatalf("transaction %s: a conflict is a known outcome: %v", brief(ops), err)
	}
}

func (s *suite) get(key string) (coord.Entry, bool) {
	s.Helper()
	entry, found, err := s.Store.Get(s.ctx(), key)
	if err != nil {
		s.Fatalf("get %s: %v", key, err)
	}
	return entry, found
}

// mustGet expects the key with the value given.
func (s *suite) mustGet(key, value string) coord.Entry {
	s.Helper()
	entry, found := s.get(key)
	if !found || string(entry.Value) != value || entry.Key != key {
		s.Fatalf("get %s: got %+v (found %t), want value %q", key, entry, found, value)
	}
	return entry
}

func (s *suite) absent(key string) {
	s.Helper()
	if entry, found := s.get(key); found {
		s.Fatalf("get %s: got %+v, want none", key, entry)
	}
}

func (s *suite) list(prefix string) []coord.Entry {
	s.Helper()
	entries, err := s.Store.List(s.ctx(), prefix)
	if err != nil {
		s.Fatalf("list %s: %v", prefix, err)
	}
	return entries
}

func (s *suite) session(behavior coord.Behavior) coord.SessionID {
	s.Helper()
	id, err := s.Store.CreateSession(s.ctx(), coord.SessionSpec{Name: s.Name()[:min(len(s.Name()), 60)], TTL: s.TTL, Behavior: behavior})
	if err != nil || id == "" {
		s.Fatalf("create session: %q, %v", id, err)
	}
	return id
}

func (s *suite) renew(id coord.SessionID, want bool) {
	s.Helper()
	found, err := s.Store.RenewSession(s.ctx(), id)
	if err != nil || found != want {
		s.Fatalf("renew session %s: got %t, %v, want %t", id, found, err, want)
	}
}

func (s *suite) destroy(id coord.SessionID) {
	s.Helper()
	if err := s.Store.DestroySession(s.ctx(), id); err != nil {
		s.Fatalf("destroy session %s: %v", id, err)
	}
}

func (s *suite) equal(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func (s *suite) above(what string, got, floor coord.Index) {
	s.Helper()
	if got <= floor {
		s.Fatalf("%s: index %d, want one above %d", what, got, floor)
	}
}

func lock(key, value string, id coord.SessionID) coord.Op {
	return coord.Op{Verb: coord.Lock, Key: key, Value: []byte(value), Session: id}
}

func unlock(key, value string, id coord.SessionID) coord.Op {
	return coord.Op{Verb: coord.Unlock, Key: key, Value: []byte(value), Session: id}
}

func checkSession(key string, id coord.SessionID) coord.Op {
	return coord.Op{Verb: coord.CheckSession, Key: key, Session: id}
}

func cas(key, value string, index coord.Index) coord.Op {
	return coord.Op{Verb: coord.CAS, Key: key, Value: []byte(value), Index: index}
}
