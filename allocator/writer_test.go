package allocator

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func openStore(t *testing.T) *embedded.Engine {
	t.Helper()
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// faultyStore is a real store whose answers, or whose requests, are lost as a test says.
type faultyStore struct {
	coord.Store
	// onTxn, if set, takes the place of a transaction; it may call through.
	onTxn atomic.Pointer[func(ctx context.Context, ops []coord.Op) (coord.Index, error)]
	onGet atomic.Pointer[func(key string) error]
}

func (s *faultyStore) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	if f := s.onTxn.Load(); f != nil {
		return (*f)(ctx, ops)
	}
	return s.Store.Txn(ctx, ops)
}

func (s *faultyStore) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	if f := s.onGet.Load(); f != nil {
		if err := (*f)(key); err != nil {
			return coord.Entry{}, false, err
		}
	}
	return s.Store.Get(ctx, key)
}

// faults play one after the other, one for each transaction; what follows is fault-free.
func (s *faultyStore) play(faults ...func(ctx context.Context, ops []coord.Op) (coord.Index, error)) {
	next := 0
	f := func(ctx context.Context, ops []coord.Op) (coord.Index, error) {
		if next >= len(faults) {
			return s.Store.Txn(ctx, ops)
		}
		next++
		return faults[next-1](ctx, ops)
	}
	s.onTxn.Store(&f)
}

// answerLost commits and does not say so.
func (s *faultyStore) answerLost(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	if _, err := s.Store.Txn(ctx, ops); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("answer lost: %w", coord.ErrUnknown)
}

// requestLost never arrives, for all that anybody knows.
func requestLost(context.Context, []coord.Op) (coord.Index, error) {
	return 0, fmt.Errorf("request lost: %w", coord.ErrUnknown)
}

func full(context.Context, []coord.Op) (coord.Index, error) {
	return 0, fmt.Errorf("disk: %w", coord.ErrFull)
}

type writerTest struct {
	*testing.T
	*writer
	store *faultyStore
	real  coord.Store
}

func newWriterTest(t *testing.T) *writerTest {
	t.Helper()
	w := &writerTest{T: t, real: openStore(t)}
	w.store = &faultyStore{Store: w.real}
	keys := storage.NewKeys("c1", DefaultGroup)
	session, err := w.real.CreateSession(t.Context(), coord.SessionSpec{Name: "test", TTL: sessionTTL, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	index, err := w.real.Txn(t.Context(), []coord.Op{{Verb: coord.Lock, Key: keys.Leader(), Session: session}})
	if err != nil {
		t.Fatal(err)
	}
	contents, err := keys.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	var now shard.Instant
	w.writer = &writer{
		store: w.store, keys: keys, session: session, epoch: shard.Epoch{Index: uint64(index)}, indexes: contents.Indexes,
		timeout: time.Second, limit: 10 * time.Second,
		clock: func() shard.Instant { now = now.Add(time.Second); return now }, // every look takes a second
	}
	return w
}

func drain(id shard.ServerID) []ledger.WriteOp {
	return []ledger.WriteOp{ledger.PutDrain{Server: id, On: true}}
}

func (w *writerTest) expect(got fate, want ledger.WriteOutcome) {
	w.Helper()
	if got.outcome != want {
		w.Fatalf("outcome %d (%v), expected %d", got.outcome, got.err, want)
	}
}

func (w *writerTest) stored(id shard.ServerID) bool {
	w.Helper()
	_, found, err := w.real.Get(w.Context(), w.keys.Drain(id))
	if err != nil {
		w.Fatal(err)
	}
	return found
}

func TestAnswerLostIsCommitted(t *testing.T) {
	w := newWriterTest(t)
	w.store.play(w.store.answerLost)
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.Committed)
	w.expect(w.write(t.Context(), []ledger.WriteOp{ledger.PutDrain{Server: "a.kv"}}), ledger.Committed) // at the right index
	if w.stored("a.kv") {
		t.Error("the second write did nothing")
	}
}

func TestRequestLostNeverCommits(t *testing.T) {
	w := newWriterTest(t)
	w.expect(w.write(t.Context(), drain("z.kv")), ledger.Committed)
	var lost []coord.Op
	w.store.play(func(_ context.Context, ops []coord.Op) (coord.Index, error) {
		lost = ops
		return 0, coord.ErrUnknown
	})
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.NotCommitted)
	var conflict *coord.ConflictError
	if _, err := w.real.Txn(t.Context(), lost); !errors.As(err, &conflict) {
		t.Fatalf("the lost transaction arrived late and was answered %v, expected a conflict", err)
	}
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.Committed)
}

// The first transaction of a cluster: there is no sequence key yet.
func TestVeryFirstRequestLost(t *testing.T) {
	w := newWriterTest(t)
	w.store.play(requestLost)
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.NotCommitted)
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.Committed)
}

// The rewrite that settles an unknown outcome may have an unknown outcome itself.
func TestRewriteIsSettledToo(t *testing.T) {
	for name, second := range map[string]func(*faultyStore) func(context.Context, []coord.Op) (coord.Index, error){
		"answer lost":  func(s *faultyStore) func(context.Context, []coord.Op) (coord.Index, error) { return s.answerLost },
		"request lost": func(*faultyStore) func(context.Context, []coord.Op) (coord.Index, error) { return requestLost },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriterTest(t)
			w.store.play(requestLost, second(w.store))
			w.expect(w.write(t.Context(), drain("a.kv")), ledger.NotCommitted)
			w.expect(w.write(t.Context(), drain("a.kv")), ledger.Committed)
		})
	}
}

// The lost transaction commits after the first look at the sequence, before the rewrite.
func TestLateCommitIsSeen(t *testing.T) {
	w := newWriterTest(t)
	var lost []coord.Op
	w.store.play(
		func(_ context.Context, ops []coord.Op) (coord.Index, error) {
			lost = ops
			return 0, coord.ErrUnknown
		},
		func(ctx context.Context, rewrite []coord.Op) (coord.Index, error) {
			if _, err := w.real.Txn(ctx, lost); err != nil {
				t.Error(err)
			}
			return w.real.Txn(ctx, rewrite)
		})
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.Committed)
	if !w.stored("a.kv") {
		t.Error("reported as committed and not there")
	}
	w.expect(w.write(t.Context(), drain("b.kv")), ledger.Committed)
}

func TestUndecidedEndsTheLeadership(t *testing.T) {
	w := newWriterTest(t)
	w.store.play(w.store.answerLost)
	unreadable := func(string) error { return coord.ErrUnavailable }
	w.store.onGet.Store(&unreadable)
	got := w.write(t.Context(), drain("a.kv"))
	w.expect(got, ledger.Superseded)
	if !strings.Contains(got.err.Error(), "undecided") {
		t.Errorf("error %v", got.err)
	}
}

func TestLockLost(t *testing.T) {
	for name, play := range map[string]func(w *writerTest){
		"before the write":    func(*writerTest) {},
		"while it is unknown": func(w *writerTest) { w.store.play(requestLost) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriterTest(t)
			play(w)
			if err := w.real.DestroySession(t.Context(), w.session); err != nil {
				t.Fatal(err)
			}
			w.expect(w.write(t.Context(), drain("a.kv")), ledger.Superseded)
		})
	}
}

func TestConflictsAreTold(t *testing.T) {
	w := newWriterTest(t)
	gone := &ledger.Registration{Create: 3}
	fence := ledger.PutFence{Fence: ledger.Fence{Owner: ledger.Owner{Server: "a.kv", Incarnation: 1}}, Registered: gone}
	w.expect(w.write(t.Context(), []ledger.WriteOp{fence}), ledger.ServerChanged)
	if _, err := w.real.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: w.keys.Drain("a.kv"), Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	got := w.write(t.Context(), drain("a.kv"))
	w.expect(got, ledger.Superseded)
	if !strings.Contains(got.err.Error(), w.keys.Drain("a.kv")) {
		t.Errorf("error %v: expected one that names the key", got.err)
	}
}

func TestFullStoreIsNotCommitted(t *testing.T) {
	w := newWriterTest(t)
	w.store.play(full)
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.NotCommitted)
	w.expect(w.write(t.Context(), drain("a.kv")), ledger.Committed)
}

// To the ledger a write is one, even where it is several transactions: begun, it is finished.
func TestLongWriteIsFinished(t *testing.T) {
	w := newWriterTest(t)
	r := rand.New(rand.NewSource(1))
	large := make([]ledger.Row, ledger.ChunkShards)
	for i := range large {
		large[i] = ledger.Row{Term: shard.Term(r.Uint64()), Move: shard.MoveID(r.Uint64())}
	}
	var ops []ledger.WriteOp
	for n := range 4 {
		ops = append(ops, ledger.PutChunk{App: "kv", Chunk: n, Rows: large})
	}
	w.store.play(w.store.Store.Txn, full, requestLost)
	w.expect(w.write(t.Context(), ops), ledger.Committed)
	for n := range 4 {
		if _, found, err := w.real.Get(t.Context(), w.keys.Chunk("kv", n)); err != nil || !found {
			t.Errorf("chunk %d: found %t, %v", n, found, err)
		}
	}
}
