package allocator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// candidate is an allocator that does not run, and a session of its own.
func candidate(t *testing.T, store coord.Store) (*Allocator, *session) {
	t.Helper()
	a, err := New(fastConfig("a1", t.TempDir()), Deps{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return a, newSession(t, store)
}

func newSession(t *testing.T, store coord.Store) *session {
	t.Helper()
	id, err := store.CreateSession(t.Context(), coord.SessionSpec{Name: "test", TTL: sessionTTL, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	return &session{id: id, alive: t.Context()}
}

func mustTxn(t *testing.T, store coord.KV, ops ...coord.Op) coord.Index {
	t.Helper()
	index, err := store.Txn(t.Context(), ops)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func leaderValue(t *testing.T, clean bool) []byte {
	t.Helper()
	value, err := wire.Encode(&pb.LeaderRecord{Allocator: "before", Clean: clean})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// What a new leader learns from the lock that it finds (PROTOCOL R1).
func TestAcquire(t *testing.T) {
	type lock struct {
		t     *testing.T
		store coord.Store
		key   string
	}
	leave := func(clean bool) func(l lock) {
		return func(l lock) {
			s := newSession(l.t, l.store).id
			mustTxn(l.t, l.store, coord.Op{Verb: coord.Lock, Key: l.key, Value: leaderValue(l.t, false), Session: s})
			mustTxn(l.t, l.store, coord.Op{Verb: coord.Unlock, Key: l.key, Value: leaderValue(l.t, clean), Session: s})
		}
	}
	for name, test := range map[string]struct {
		before     func(l lock)
		got, clean bool
	}{
		"never held":      {before: func(lock) {}, got: true}, // or deleted: that proves nothing
		"left in order":   {before: leave(true), got: true, clean: true},
		"left in trouble": {before: leave(false), got: true},
		"held": {before: func(l lock) {
			mustTxn(l.t, l.store, coord.Op{Verb: coord.Lock, Key: l.key, Value: leaderValue(l.t, true), Session: newSession(l.t, l.store).id})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t)
			a, s := candidate(t, store)
			test.before(lock{t, store, a.keys.Leader()})
			before := a.clock()
			g, err := a.tryAcquire(t.Context(), s)
			if err != nil || (g != nil) != test.got {
				t.Fatalf("grip %v, %v", g, err)
			}
			if g == nil {
				return
			}
			entry, _, err := store.Get(t.Context(), a.keys.Leader())
			if err != nil {
				t.Fatal(err)
			}
			record := new(pb.LeaderRecord)
			if err := wire.Decode(entry.Value, record); err != nil || record.Clean || record.Allocator != "a1" || entry.Session != s.id {
				t.Errorf("record %v, %v: expected ours, with the mark cleared", record, err)
			}
			if g.clean != test.clean || g.epoch != (shard.Epoch{Index: uint64(entry.Modify)}) || g.acquired.Raw <= before.Raw {
				t.Errorf("grip %+v, expected clean %t and the epoch %d", g, test.clean, entry.Modify)
			}
		})
	}
}

// Between the look at the lock and the attempt to take it another was there and left: what was read of the mark is void.
func TestAcquireNeedsTheRecordThatWasRead(t *testing.T) {
	store := &faultyStore{Store: openStore(t)}
	a, s := candidate(t, store)
	key, other := a.keys.Leader(), newSession(t, store).id
	mustTxn(t, store, coord.Op{Verb: coord.Set, Key: key, Value: leaderValue(t, true)})
	store.play(func(ctx context.Context, ops []coord.Op) (coord.Index, error) {
		mustTxn(t, store.Store, coord.Op{Verb: coord.Lock, Key: key, Value: leaderValue(t, false), Session: other})
		mustTxn(t, store.Store, coord.Op{Verb: coord.Unlock, Key: key, Value: leaderValue(t, false), Session: other})
		return store.Store.Txn(ctx, ops)
	})
	if g, err := a.tryAcquire(t.Context(), s); g != nil || err != nil {
		t.Errorf("grip %+v, %v", g, err)
	}
	if g, err := a.tryAcquire(t.Context(), s); g == nil || err != nil || g.clean {
		t.Errorf("second attempt: grip %+v, %v", g, err)
	}
}

func TestAcquireFails(t *testing.T) {
	t.Run("unknown outcome", func(t *testing.T) {
		store := &faultyStore{Store: openStore(t)}
		a, s := candidate(t, store)
		store.play(store.answerLost)
		if g, err := a.tryAcquire(t.Context(), s); g != nil || !errors.Is(err, coord.ErrUnknown) {
			t.Errorf("grip %+v, %v: expected the error, which ends the session", g, err)
		}
	})
	t.Run("corrupt record", func(t *testing.T) {
		store := openStore(t)
		a, s := candidate(t, store)
		mustTxn(t, store, coord.Op{Verb: coord.Set, Key: a.keys.Leader(), Value: []byte("rubbish")})
		if g, err := a.tryAcquire(t.Context(), s); g != nil || !errors.Is(err, wire.ErrCorrupt) || !strings.Contains(err.Error(), a.keys.Leader()) {
			t.Errorf("grip %+v, %v", g, err)
		}
	})
}

// The lock is proven every second, counted from before the read; reads that fail prove nothing, and a lock that changed hands is lost.
func TestConfirm(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, store coord.Store, key string, s coord.SessionID){
		"session destroyed": func(t *testing.T, store coord.Store, _ string, s coord.SessionID) {
			if err := store.DestroySession(t.Context(), s); err != nil {
				t.Error(err)
			}
		},
		"key deleted": func(t *testing.T, store coord.Store, key string, _ coord.SessionID) {
			mustTxn(t, store, coord.Op{Verb: coord.Delete, Key: key})
		},
		"taken again by the same session": func(t *testing.T, store coord.Store, key string, s coord.SessionID) {
			mustTxn(t, store, coord.Op{Verb: coord.Lock, Key: key, Session: s})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &faultyStore{Store: openStore(t)}
				a, s := candidate(t, store)
				a.clock = func() shard.Instant { return shard.Instant{Boot: time.Now().UnixNano(), Raw: time.Now().UnixNano()} }
				g, err := a.tryAcquire(t.Context(), s)
				if g == nil || err != nil {
					t.Fatal(g, err)
				}
				away := func(string) error { time.Sleep(300 * time.Millisecond); return coord.ErrUnavailable } // virtual
				var proofs []shard.Instant
				err = a.confirm(t.Context(), g, func(asked shard.Instant) error {
					proofs = append(proofs, asked)
					switch len(proofs) {
					case 2:
						store.onGet.Store(&away)
						time.AfterFunc(2*confirmEvery, func() { store.onGet.Store(nil) })
					case 4:
						lose(t, store, a.keys.Leader(), s.id)
					}
					return nil
				})
				if !errors.Is(err, errLockLost) {
					t.Errorf("ended with %v", err)
				}
				if len(proofs) != 4 {
					t.Fatalf("%d proofs, expected 4", len(proofs))
				}
				if every := proofs[0].WaitAge(proofs[1]); every != confirmEvery {
					t.Errorf("proven every %s", every)
				}
				if gap := proofs[1].WaitAge(proofs[2]); gap < 2*confirmEvery || gap > 3*confirmEvery {
					t.Errorf("proven again %s after the store was away for %s", gap, 2*confirmEvery)
				}
			})
		})
	}
}

// A session that the store has ended is noticed at the next renewal.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		a, s := candidate(t, store)
		s.alive, s.end = context.WithCancelCause(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.renew(s)
		}()
		time.Sleep(10 * sessionTTL) // virtual: long after it would have ended by itself
		if s.alive.Err() != nil {
			t.Fatalf("ended: %v", context.Cause(s.alive))
		}
		if err := store.DestroySession(t.Context(), s.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(renewEvery)
		<-done
		if !errors.Is(context.Cause(s.alive), errSessionGone) {
			t.Errorf("cause %v", context.Cause(s.alive))
		}
	})
}
