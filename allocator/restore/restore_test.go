package restore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/generation"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/restore"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

var keys = storage.NewKeys("c1", "default")

// bench is a store with a small cluster in it, and clocks that only waiting moves.
type bench struct {
	t      *testing.T
	store  coord.Store
	now    shard.Instant
	slept  time.Duration
	during func(d time.Duration) // is called before each sleep but the renewals'
}

func newBench(t *testing.T, store coord.Store) *bench {
	b := &bench{t: t, store: store, now: shard.Instant{Boot: 1e15, Raw: 2e15}}
	b.put(keys.Spec("kv"), &pb.AppRecord{Spec: &pb.AppSpec{Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 2}}},
		Replication: pb.Replication_REPLICATION_PRIMARY_ONLY, ResourceVersion: 9}})
	b.put(keys.Chunk("kv", 0), &pb.AssignmentChunk{
		Servers: []*pb.ChunkServer{{Id: "a.kv", Incarnation: 1}, {Id: "b.kv", Incarnation: 2}}, Terms: []uint64{7, 9}, Moves: []uint64{4, 5}, Primaries: []uint32{1, 2},
		PrimaryTerms: []uint64{7, 8}, Open: []*pb.ChunkMove{{Row: 1, Move: 5, Term: 9, From: 2, To: 1, Reason: pb.MoveReason_MOVE_REASON_DRAIN, Phase: 1}},
	})
	b.put(keys.Drain("b.kv"), &pb.DrainRecord{Server: "b.kv"})
	b.put(keys.Fence("c.kv"), &pb.FenceRecord{Incarnation: 3, Reason: "silent"})
	b.put(keys.Sequence(), &pb.SequenceRecord{Write: 6})
	b.put(keys.Leader(), &pb.LeaderRecord{Allocator: "a1", Clean: true})
	return b
}

func (b *bench) txn(ops ...coord.Op) coord.Index {
	b.t.Helper()
	index, err := b.store.Txn(b.t.Context(), ops)
	if err != nil {
		b.t.Fatal(err)
	}
	return index
}

func (b *bench) put(key string, m proto.Message) {
	b.t.Helper()
	value, err := wire.Encode(m)
	if err != nil {
		b.t.Fatal(err)
	}
	b.txn(coord.Op{Verb: coord.Set, Key: key, Value: value})
}

// session begins one.
func (b *bench) session(behavior coord.Behavior) coord.SessionID {
	b.t.Helper()
	id, err := b.store.CreateSession(b.t.Context(), coord.SessionSpec{Name: "test", TTL: 10 * time.Second, Behavior: behavior})
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// register makes the key of a server, as its agent does.
func (b *bench) register(id shard.ServerID, incarnation uint64) coord.SessionID {
	b.t.Helper()
	session := b.session(coord.DeleteKeys)
	value, err := wire.Encode(&pb.ServerRecord{Cluster: "c1", Server: wire.ServerToProto(shard.Server{ID: id, App: "kv", Agent: "a", Incarnation: shard.Incarnation(incarnation)})})
	if err != nil {
		b.t.Fatal(err)
	}
	b.txn(coord.Op{Verb: coord.CheckNotExists, Key: keys.Server(id)}, coord.Op{Verb: coord.Lock, Key: keys.Server(id), Value: value, Session: session})
	return session
}

func (b *bench) all() []coord.Entry {
	b.t.Helper()
	list, err := b.store.List(b.t.Context(), keys.Root())
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

func (b *bench) generation() generation.State {
	b.t.Helper()
	s, err := generation.Read(b.t.Context(), b.store, keys)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) deps() restore.Deps {
	return restore.Deps{
		Store: b.store, Keys: keys, Settings: ledger.Settings{}.Defaults(), Name: "a restore", Tell: func(string, uint64, uint64) {},
		Clock: func() shard.Instant { return b.now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			if d >= 2*time.Second { // to renew the session
				<-ctx.Done()
				return ctx.Err()
			}
			if b.during != nil {
				b.during(d)
			}
			b.slept += d
			b.now = b.now.Add(d)
			return ctx.Err()
		},
	}
}

func (b *bench) run(from restore.Source) (restore.Plan, error) {
	return restore.Run(b.t.Context(), b.deps(), from)
}

// loaded is what the next leader would read.
func (b *bench) loaded() *storage.Contents {
	b.t.Helper()
	c, err := keys.Load(b.all())
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// contract runs a test on every store.
func contract(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("embedded", func(t *testing.T) {
		store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		test(t, newBench(t, store))
	})
	t.Run("consul", func(t *testing.T) {
		store, err := consul.New(consul.Config{Addresses: consultest.Start(t, 1, nil).Addresses()}, "c1")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		test(t, newBench(t, store))
	})
}

// TestRestore: everything is as it was saved, but that nobody has a shard, that terms are of a new generation, and that servers are registered anew. Nobody
// leads meanwhile, and the wait is that of a leader that fences everybody.
func TestRestore(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		saved := b.all()
		session := b.register("a.kv", 1)
		b.put(keys.Spec("later"), &pb.AppRecord{Spec: &pb.AppSpec{Name: "later", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 1}}}}})
		b.put(keys.Rest("a.kv"), &pb.RestRecord{Incarnation: 1, LengthNs: int64(20 * time.Second)})
		b.txn(coord.Op{Verb: coord.Delete, Key: keys.Drain("b.kv")})
		b.put("shardmanager/c1/g/other/leader", &pb.LeaderRecord{Allocator: "x"})

		plan, err := restore.Look(t.Context(), b.deps(), restore.Source{What: "of a test", Entries: saved})
		if err != nil || plan.Generation != 1 || plan.Servers != 1 || plan.Wait < 20*time.Second {
			t.Fatalf("plan %+v, %v", plan, err)
		}
		var again coord.SessionID
		b.during = func(time.Duration) {
			state := b.generation()
			if state.Number() != 1 || !strings.Contains(state.Bar(), "of a test") {
				t.Fatalf("while it waits: %v", state.Record)
			}
			if b.slept == 0 { // the agent registers anew, and stays
				again = b.register("a.kv", 5)
			}
		}
		done, err := b.run(restore.Source{What: "of a test", Entries: saved})
		if err != nil {
			t.Fatal(err)
		}
		if done != (restore.Plan{Generation: 1, Servers: 1, Writes: done.Writes, Deletes: done.Deletes}) || b.slept < shard.CoverDrift(20*time.Second) {
			t.Errorf("%+v after %s", done, b.slept)
		}
		if found, err := b.store.RenewSession(t.Context(), session); err != nil || found {
			t.Errorf("the session of an incarnation that ended lives: %v", err)
		}
		c := b.loaded()
		if len(c.Apps) != 1 || c.Apps[0].Spec.ResourceVersion != 9 || !slices.Equal(c.Drains, []shard.ServerID{"b.kv"}) || len(c.Fences)+len(c.Rests) != 0 {
			t.Errorf("restored %+v", c)
		}
		for i, want := range []ledger.Row{{Term: shard.FirstTerm(1), Move: 4}, {Term: shard.FirstTerm(1), Move: 5}} {
			if got := c.Apps[0].Rows[i]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("row %d is %+v, want %+v", i, got, want)
			}
		}
		if len(c.Registered) != 1 || c.Registered[0].Server.Incarnation != 5 || c.Registered[0].Session != string(again) {
			t.Errorf("registered: %+v", c.Registered)
		}
		record := new(pb.LeaderRecord)
		if err := wire.Decode(c.Leader.Value, record); err != nil || c.Leader.Session != "" || !record.GetClean() {
			t.Errorf("the lock is %v of %q, %v", record, c.Leader.Session, err)
		}
		if state := b.generation(); state.Number() != 1 || state.Bar() != "" {
			t.Errorf("generation %v", state.Record)
		}
		if n := len(b.all()); n != 7 { // spec, chunk, drain, sequence, leader, generation, server
			if !slices.ContainsFunc(b.all(), func(e coord.Entry) bool { return e.Key == "shardmanager/c1/g/other/leader" }) || n != 8 {
				t.Errorf("%d keys: %v", n, b.all())
			}
		}
	})
}

// TestRestoreIsRefused while somebody leads, and then changes nothing.
func TestRestoreIsRefused(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		saved, session := b.all(), b.session(coord.Release)
		value, err := wire.Encode(&pb.LeaderRecord{Allocator: "a2", Address: "host:7410"})
		if err != nil {
			t.Fatal(err)
		}
		b.txn(coord.Op{Verb: coord.Lock, Key: keys.Leader(), Value: value, Session: session})
		before := b.all()
		_, err = b.run(restore.Source{Entries: saved})
		var led *restore.LedError
		if !errors.As(err, &led) || led.Name != "a2" || !strings.Contains(err.Error(), "a2 at host:7410 holds") {
			t.Errorf("refused with %v", err)
		}
		if fmt.Sprint(b.all()) != fmt.Sprint(before) {
			t.Error("it changed something")
		}
	})
}

// TestRestoreIsCutShort: whatever it has done by then, nobody may lead, and running it again does it, after the whole wait.
func TestRestoreIsCutShort(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		saved := b.all()
		b.register("a.kv", 1)
		ctx, cancel := context.WithCancel(t.Context())
		b.during = func(time.Duration) { cancel() }
		if _, err := restore.Run(ctx, b.deps(), restore.Source{What: "of a test", Entries: saved}); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nobody leads until") {
			t.Fatalf("cut short: %v", err)
		}
		if state := b.generation(); state.Number() != 1 || !strings.Contains(state.Bar(), "has not ended") {
			t.Fatalf("left behind: %v", state.Record)
		}
		b.during, b.slept = nil, 0
		done, err := b.run(restore.Source{What: "of a test", Entries: saved})
		if err != nil || done.Generation != 2 {
			t.Fatalf("%+v, %v", done, err)
		}
		if s := b.deps().Settings; b.slept < shard.CoverDrift(s.Validity)+shard.CoverDrift(s.LeaderValidity) {
			t.Errorf("waited %s: the lock it found had no clean mark", b.slept)
		}
		if state := b.generation(); state.Bar() != "" {
			t.Errorf("generation %v", state.Record)
		}
	})
}

// TestAMixtureIsNotKept: once a copy has begun to be written, raise-generation refuses what is stored, until a copy has been written whole.
func TestAMixtureIsNotKept(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		saved := b.all()
		b.put(keys.Drain("x.kv"), &pb.DrainRecord{Server: "x.kv"}) // it is deleted first
		cut := func(when string) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := b.deps()
			d.Tell = func(what string, _, _ uint64) {
				if strings.HasPrefix(what, when) {
					cancel()
				}
			}
			if _, err := restore.Run(ctx, d, restore.Source{What: "of a test", Entries: saved}); !errors.Is(err, context.Canceled) {
				t.Fatalf("cut short while it %s: %v", when, err)
			}
		}
		cut("waits")
		if bar := b.generation().Bar(); !strings.Contains(bar, "raise-generation") {
			t.Errorf("nothing was written yet, and it says %s", bar)
		}
		for _, when := range []string{"writes", "waits"} { // the second time it does not come so far, and what is stored is the mixture still
			cut(when)
			if bar := b.generation().Bar(); strings.Contains(bar, "raise-generation") || !strings.Contains(bar, "snapshot restore FILE") {
				t.Errorf("cut short while it %s, it says %s", when, bar)
			}
			if _, err := b.run(restore.Source{What: "of what the store had"}); !errors.Is(err, restore.ErrMixed) {
				t.Errorf("cut short while it %s, then kept: %v", when, err)
			}
		}
		if _, err := b.run(restore.Source{What: "of a test", Entries: saved}); err != nil || b.generation().Bar() != "" {
			t.Errorf("at last: %v, %v", err, b.generation().Record)
		}
	})
}

// TestRestoreLosesTheLock: nothing is written any more.
func TestRestoreLosesTheLock(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		saved := b.all()
		b.put(keys.Drain("x.kv"), &pb.DrainRecord{Server: "x.kv"}) // a restore would delete it
		b.during = func(time.Duration) {
			if entry, _, err := b.store.Get(t.Context(), keys.Leader()); err != nil || b.store.DestroySession(t.Context(), entry.Session) != nil {
				t.Error(err)
			}
			b.during = nil
		}
		_, err := b.run(restore.Source{What: "of a test", Entries: saved})
		if err == nil || !strings.Contains(err.Error(), "lock was lost") {
			t.Fatalf("error %v", err)
		}
		if c := b.loaded(); !slices.Contains(c.Drains, "x.kv") || b.generation().Bar() == "" {
			t.Errorf("drains %v, generation %v", c.Drains, b.generation().Record)
		}
	})
}

// TestRaise keeps what is there, above whatever is named, heard of or stored.
func TestRaise(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		b.put(keys.Generation(), &pb.GenerationRecord{Generation: 3, Heard: 6, Reason: "an agent obeyed 6.100"})
		if bar := b.generation().Bar(); !strings.Contains(bar, "an agent obeyed 6.100") || !strings.Contains(bar, "raise-generation") {
			t.Errorf("bar %q", bar)
		}
		for _, c := range []struct{ above, want uint64 }{{0, 7}, {20, 21}, {5, 22}} {
			done, err := b.run(restore.Source{What: "of what the store had", Above: c.above})
			if err != nil || done.Generation != c.want || done.Deletes != 0 && c.above > 0 {
				t.Fatalf("above %d: %+v, %v", c.above, done, err)
			}
			if got := b.loaded().Apps[0].Rows[1]; got.Term != shard.FirstTerm(c.want) || got.Primary != (ledger.Owner{}) || got.Open != nil || b.generation().Bar() != "" {
				t.Errorf("above %d: row %+v, generation %v", c.above, got, b.generation().Record)
			}
		}
		b.txn(coord.Op{Verb: coord.Set, Key: keys.Generation(), Value: []byte("nonsense")})
		if _, err := b.run(restore.Source{}); err == nil || !strings.Contains(err.Error(), "--above") {
			t.Errorf("a generation that cannot be read: %v", err)
		}
		if done, err := b.run(restore.Source{Above: 30}); err != nil || done.Generation != 31 {
			t.Errorf("%+v, %v", done, err)
		}
		if _, err := b.run(restore.Source{Above: generation.Most}); err == nil || !strings.Contains(err.Error(), "at most") {
			t.Errorf("beyond the last: %v", err)
		}
	})
}

// TestRestoreTellsOfWhatItCannotRead, and changes nothing: values of the copy have to be readable, those of the store need not be.
func TestRestoreTellsOfWhatItCannotRead(t *testing.T) {
	contract(t, func(t *testing.T, b *bench) {
		saved := b.all()
		b.txn(coord.Op{Verb: coord.Set, Key: keys.Chunk("kv", 0), Value: []byte("nonsense")})
		if _, err := b.run(restore.Source{}); err == nil || !strings.Contains(err.Error(), keys.Chunk("kv", 0)) {
			t.Errorf("raised: %v", err)
		}
		if state := b.generation(); state.Number() != 0 || state.Bar() != "" {
			t.Errorf("left behind: %v", state.Record)
		}
		if _, err := b.run(restore.Source{What: "of a test", Entries: saved}); err != nil {
			t.Error(err)
		}
		if len(b.loaded().Apps) != 1 {
			t.Error("not restored")
		}
	})
}
