package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

var keys = storage.NewKeys("c1", "default")

// cluster is a real store with a lock that is held.
type cluster struct {
	*testing.T
	store   coord.Store
	session coord.SessionID
	epoch   shard.Epoch
	number  uint64
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	store, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := &cluster{T: t, store: store}
	c.session, err = store.CreateSession(t.Context(), coord.SessionSpec{Name: "test", TTL: 10 * time.Second, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	index := c.txn(coord.Op{Verb: coord.Lock, Key: keys.Leader(), Value: encode(t, &pb.LeaderRecord{Allocator: "a1"}), Session: c.session})
	c.epoch = shard.Epoch{Index: uint64(index)}
	return c
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	value, err := wire.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (c *cluster) txn(ops ...coord.Op) coord.Index {
	c.Helper()
	index, err := c.store.Txn(context.Background(), ops)
	if err != nil {
		c.Fatal(err)
	}
	return index
}

func (c *cluster) load() *storage.Contents {
	c.Helper()
	contents, err := c.tryLoad()
	if err != nil {
		c.Fatal(err)
	}
	return contents
}

func (c *cluster) tryLoad() (*storage.Contents, error) {
	c.Helper()
	entries, err := c.store.List(context.Background(), keys.Root())
	if err != nil {
		c.Fatal(err)
	}
	return keys.Load(entries)
}

// write commits a write on top of what contents remembers, and returns in how many transactions.
func (c *cluster) write(contents *storage.Contents, ops ...ledger.WriteOp) int {
	c.Helper()
	batches, err := keys.Encode(contents.Indexes, c.epoch, ops)
	if err != nil {
		c.Fatal(err)
	}
	for _, batch := range batches {
		c.commit(contents, batch)
	}
	return len(batches)
}

func (c *cluster) commit(contents *storage.Contents, batch []coord.Op) {
	c.Helper()
	c.number++
	guard, err := keys.Guard(c.session, contents.Sequence.Modify, c.epoch, c.number)
	if err != nil {
		c.Fatal(err)
	}
	index := c.txn(append(guard, batch...)...)
	contents.Sequence.Modify = index
	contents.Indexes.Committed(batch, index)
}

func (c *cluster) register(id string, incarnation uint64) ledger.Registration {
	c.Helper()
	session, err := c.store.CreateSession(context.Background(), coord.SessionSpec{Name: id, TTL: 10 * time.Second, Behavior: coord.DeleteKeys})
	if err != nil {
		c.Fatal(err)
	}
	agent, app, _ := strings.Cut(id, ".")
	server := shard.Server{ID: shard.ServerID(id), App: shard.App(app), Agent: agent, Incarnation: shard.Incarnation(incarnation)}
	index := c.txn(
		coord.Op{Verb: coord.CheckNotExists, Key: keys.Server(server.ID)},
		coord.Op{
			Verb: coord.Lock, Key: keys.Server(server.ID), Session: session,
			Value: encode(c.T, &pb.ServerRecord{Server: wire.ServerToProto(server), Cluster: "c1", Ended: []uint64{incarnation - 1}}),
		})
	return ledger.Registration{Server: server, Session: string(session), Create: uint64(index), Ended: []shard.Incarnation{server.Incarnation - 1}}
}

// What says whether two servers may serve at once comes back from the store, and an older spec, which does not say, is of an exclusive app.
func TestSpecsKeepTheirExclusiveness(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*ledger.Spec){
		func(*ledger.Spec) {},
		func(s *ledger.Spec) { s.NonExclusive = true },
		func(s *ledger.Spec) { s.AcceptOverlap, s.OnLoss = true, 2 },
		func(s *ledger.Spec) { s.Written = nil },
	} {
		want := spec("kv", 4)
		change(&want)
		message := appspec.ToProto(want)
		got, err := appspec.FromProto(message)
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("%v: %s", err, cmp.Diff(want, got))
		}
		message.Exclusive = nil
		if old, err := appspec.FromProto(message); err != nil || old.NonExclusive {
			t.Errorf("%v: unset, and not exclusive: %+v", err, old)
		}
	}
	if _, err := appspec.FromProto(&pb.AppSpec{KeySpace: appspec.ToProto(spec("kv", 4)).KeySpace, OnCoordinationLoss: 7}); err == nil {
		t.Error("an unknown on_coordination_loss was taken")
	}
}

// spec is one with everything in it; only kv has a policy, as no app had before there were any.
func spec(name string, shards uint32) ledger.Spec {
	var written []byte
	if name == "kv" {
		app := uint32(5)
		written, _ = proto.Marshal(&pb.Policy{Group: "g", Moves: &pb.MoveCaps{App: &app}, Goals: []*pb.Goal{{Tier: 1, Kind: &pb.Goal_Drain{Drain: &pb.DrainGoal{}}}}})
	}
	return ledger.Spec{Written: written,
		Name: shard.App(name), Space: shard.KeySpace{Hash: shard.HashSpace{Shards: shards}}, Replication: 3, MaxMoves: 64, MaxMovesServer: 8, TolerancePercent: 10,
		DefaultLoad: map[string]int64{"cpu": 5}, ResourceVersion: 3, Labels: map[string]string{"team": "x"},
		Replicas: 3, RegionReplicas: map[string]int{"eu": 1, "us": 2}, Spread: locality.Zone, PreferRegions: []string{"us", "eu"},
	}
}

// rows are n rows in every state that a row can be in.
func rows(n int, seed int64) []ledger.Row {
	r := rand.New(rand.NewSource(seed))
	owner := func() ledger.Owner {
		k := r.Intn(5)
		return ledger.Owner{Server: shard.ServerID(fmt.Sprintf("agent%d.kv", k)), Incarnation: shard.Incarnation(k + 1)}
	}
	out := make([]ledger.Row, n)
	for i := range out {
		if r.Intn(10) == 0 {
			continue // never placed
		}
		out[i] = ledger.Row{Term: shard.Term(10 + r.Intn(5)), Move: shard.MoveID(7 + r.Intn(5)), Primary: owner(), PrimaryTerm: shard.Term(1 + r.Intn(9))}
		for range r.Intn(3) {
			out[i].Secondaries = append(out[i].Secondaries, ledger.Secondary{Owner: owner(), State: ledger.SecondaryState(1 + r.Intn(4)),
				Order: shard.Order{Term: out[i].Term, Move: out[i].Move - shard.MoveID(r.Intn(3))}})
		}
		if r.Intn(5) > 0 {
			out[i].ID, out[i].Deleting = shard.ID(fmt.Sprint("shard-", i)), r.Intn(5) == 0
		}
		if r.Intn(3) == 0 {
			out[i].MembersMove = out[i].Move - 1
		}
		if r.Intn(4) == 0 {
			out[i].Open = &ledger.OpenMove{
				Move: out[i].Move, Term: out[i].Term, From: out[i].Primary, To: owner(),
				Reason: placement.Reason(1 + r.Intn(8)), Phase: ledger.MovePhase(1 + r.Intn(3)), Stays: r.Intn(2) == 0,
			}
		}
	}
	return out
}

func TestWhatIsWrittenIsLoaded(t *testing.T) {
	c := newCluster(t)
	a := c.register("a.kv", 17)
	contents := c.load()
	all := rows(ledger.ChunkShards+100, 1)
	fence := ledger.Fence{Owner: ledger.Owner{Server: "b.kv", Incarnation: 4}, Reason: "silent"}
	rest := ledger.Rest{Owner: ledger.Owner{Server: "a.kv", Incarnation: 17}, Length: 12 * time.Second}
	held := probation.Probation{Fences: 3, Window: 12 * time.Minute, Length: 2 * time.Minute, Left: 90 * time.Second, Reason: "silent"}
	poison := probation.Quarantine{App: "kv", Shard: "a/b?", Why: "3 servers died of it"}
	other := probation.Quarantine{App: "empty", Shard: "1", Why: "too"}
	planned := event.Event{
		Request: event.Request{ID: "os-2", Kind: event.Upgrade, Impact: event.MachineLoss, Scope: event.Scope{Servers: []shard.ServerID{"a.kv"}, Zones: []string{"z"}},
			Announced: true, Start: time.UnixMilli(1e12).UTC(), Deadline: time.UnixMilli(2e12).UTC(), Duration: time.Hour, Reason: "kernel", Requester: "ops"},
		Pieces: []event.Piece{{Covers: []event.Covered{{Server: "a.kv", Incarnation: 7}}, State: event.Ready, Left: time.Hour, Why: "because", Never: true},
			{Covers: []event.Covered{{Server: "b.kv"}}, State: event.Waiting}},
		Turn: 7, Waived: true,
	}
	c.write(contents,
		ledger.PutSpec{Spec: spec("kv", ledger.ChunkShards+100)},
		ledger.PutSpec{Spec: spec("empty", 4)},
		ledger.PutChunk{App: "kv", Chunk: 0, Rows: all[:ledger.ChunkShards]},
		ledger.PutChunk{App: "kv", Chunk: 1, Rows: all[ledger.ChunkShards:]},
		ledger.PutFence{Fence: fence},
		ledger.PutRest{Rest: rest},
		ledger.PutDrain{Server: "a.kv", On: true},
		ledger.PutMark{Row: probation.PutProbation{Server: "a.kv", Probation: held}},
		ledger.PutMark{Row: probation.PutQuarantine{Quarantine: poison}},
		ledger.PutMark{Row: probation.PutQuarantine{Quarantine: other}},
		ledger.PutEvent{Row: maintenance.Row{Event: planned}},
	)
	got := c.load()
	want := []ledger.AppState{{Spec: spec("empty", 4)}, {Spec: spec("kv", ledger.ChunkShards+100), Rows: all}}
	for _, d := range []string{
		cmp.Diff(want, got.Apps), cmp.Diff([]ledger.Registration{a}, got.Registered), cmp.Diff([]ledger.Fence{fence}, got.Fences),
		cmp.Diff([]ledger.Rest{rest}, got.Rests), cmp.Diff([]shard.ServerID{"a.kv"}, got.Drains),
		cmp.Diff(map[shard.ServerID]probation.Probation{"a.kv": held}, got.Probations),
		cmp.Diff([]probation.Quarantine{other, poison}, got.Quarantines),
		cmp.Diff([]event.Event{planned}, got.Events, cmpopts.EquateEmpty()),
	} {
		if d != "" {
			t.Errorf("loaded differs from written (-want +got):\n%s", d)
		}
	}

	// Everything can be changed and deleted on top of what a new leader loads.
	c.write(got,
		ledger.PutChunk{App: "kv", Chunk: 1, Rows: all[:100]},
		ledger.PutFence{Fence: ledger.Fence{Owner: ledger.Owner{Server: "a.kv", Incarnation: 17}, Reason: "dead"}, Registered: &a},
		ledger.RemoveRest{Server: "a.kv"}, ledger.PutDrain{Server: "a.kv"}, ledger.RemoveApp{App: "empty", Chunks: 1},
		ledger.PutMark{Row: probation.RemoveProbation{Server: "a.kv"}}, ledger.PutMark{Row: probation.RemoveQuarantine{App: "kv", Shard: "a/b?"}},
		ledger.PutEvent{Row: maintenance.Row{Event: planned, Gone: true}},
	)
	got = c.load()
	if len(got.Apps) != 1 || len(got.Registered) != 0 || len(got.Rests) != 0 || len(got.Drains) != 0 || len(got.Fences) != 2 {
		t.Errorf("after deletion: %d apps, %d servers, %d rests, %d drains, %d fences",
			len(got.Apps), len(got.Registered), len(got.Rests), len(got.Drains), len(got.Fences))
	}
	if len(got.Probations) != 0 || len(got.Quarantines) != 0 || len(got.Events) != 0 { // the other's went with its app
		t.Errorf("after deletion: probations %v, quarantines %v, events %v", got.Probations, got.Quarantines, got.Events)
	}
	if d := cmp.Diff(all[:100], got.Apps[0].Rows[ledger.ChunkShards:]); d != "" {
		t.Errorf("chunk 1 (-want +got):\n%s", d)
	}
}

// A chunk that was never written leaves room for its rows.
func TestMissingChunkLeavesRoom(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	c.write(contents, ledger.PutSpec{Spec: spec("kv", 3*ledger.ChunkShards)}, ledger.PutChunk{App: "kv", Chunk: 2, Rows: rows(50, 2)})
	got := c.load().Apps[0].Rows
	if len(got) != 2*ledger.ChunkShards+50 {
		t.Fatalf("%d rows", len(got))
	}
	if d := cmp.Diff(rows(50, 2), got[2*ledger.ChunkShards:]); d != "" {
		t.Error(d)
	}
}

func TestCorruptValueIsNamed(t *testing.T) {
	chunk := func(change func(*pb.AssignmentChunk)) proto.Message {
		m := &pb.AssignmentChunk{
			Servers: []*pb.ChunkServer{{Id: "a.kv", Incarnation: 1}}, Terms: []uint64{5}, Moves: []uint64{2}, Primaries: []uint32{1}, PrimaryTerms: []uint64{5},
		}
		change(m)
		return m
	}
	covers := []*pb.MaintenancePiece_Covered{{Server: "a.kv", Incarnation: 7}}
	record := func(id string, pieces ...*pb.MaintenancePiece) proto.Message {
		return &pb.MaintenanceRecord{Event: &pb.MaintenanceEvent{Request: &pb.MaintenanceRequest{Id: id}, Pieces: pieces}}
	}
	move := func(change func(*pb.ChunkMove)) proto.Message {
		return chunk(func(m *pb.AssignmentChunk) {
			open := &pb.ChunkMove{Move: 2, Term: 5, From: 1, To: 1, Reason: 1, Phase: 1}
			change(open)
			m.Open = []*pb.ChunkMove{open}
		})
	}
	for name, test := range map[string]struct {
		key   string
		value proto.Message // nil: damaged bytes
	}{
		"damaged leader":     {key: keys.Leader()},
		"damaged sequence":   {key: keys.Sequence()},
		"damaged spec":       {key: keys.Spec("kv")},
		"damaged chunk":      {key: keys.Chunk("kv", 0)},
		"damaged fence":      {key: keys.Fence("a.kv")},
		"damaged rest":       {key: keys.Rest("a.kv")},
		"damaged drain":      {key: keys.Drain("a.kv")},
		"no key of an app":   {key: keys.Spec("kv") + "x"},
		"other app":          {key: keys.Spec("kv"), value: &pb.AppRecord{Spec: &pb.AppSpec{Name: "other", KeySpace: wire.KeySpaceToProto(shard.KeySpace{Hash: shard.HashSpace{Shards: 2}})}}},
		"no key space":       {key: keys.Spec("kv"), value: &pb.AppRecord{Spec: &pb.AppSpec{Name: "kv"}}},
		"column too short":   {key: keys.Chunk("kv", 0), value: chunk(func(m *pb.AssignmentChunk) { m.Moves = nil })},
		"unknown server":     {key: keys.Chunk("kv", 0), value: chunk(func(m *pb.AssignmentChunk) { m.Primaries[0] = 2 })},
		"term above highest": {key: keys.Chunk("kv", 0), value: chunk(func(m *pb.AssignmentChunk) { m.PrimaryTerms[0] = 6 })},
		"move of no row":     {key: keys.Chunk("kv", 0), value: move(func(m *pb.ChunkMove) { m.Row = 1 })},
		"move above highest": {key: keys.Chunk("kv", 0), value: move(func(m *pb.ChunkMove) { m.Move = 3 })},
		"unknown phase":      {key: keys.Chunk("kv", 0), value: move(func(m *pb.ChunkMove) { m.Phase = 4 })},
		"unknown reason":     {key: keys.Chunk("kv", 0), value: move(func(m *pb.ChunkMove) { m.Reason = 9 })},
		"unknown target":     {key: keys.Chunk("kv", 0), value: move(func(m *pb.ChunkMove) { m.To = 9 })},
		"chunk too far":      {key: keys.Chunk("kv", 128), value: chunk(func(*pb.AssignmentChunk) {})},
		"fence of nobody":    {key: keys.Fence("a.kv"), value: &pb.FenceRecord{}},
		"negative rest":      {key: keys.Rest("a.kv"), value: &pb.RestRecord{Incarnation: 1, LengthNs: -1}},
		"damaged probation":  {key: keys.Probation("a.kv")},
		"other's probation":  {key: keys.Probation("a.kv"), value: &pb.ProbationRecord{Server: "b.kv"}},
		"negative probation": {key: keys.Probation("a.kv"), value: &pb.ProbationRecord{Server: "a.kv", LeftNs: -1}},
		"damaged quarantine": {key: keys.Quarantine("kv", "1")},
		"other's quarantine": {key: keys.Quarantine("kv", "1"), value: &pb.QuarantineRecord{App: "kv", Shard: "2", Reason: "x"}},
		"damaged event":      {key: keys.Event("x")},
		"other's event":      {key: keys.Event("x"), value: record("y", &pb.MaintenancePiece{State: 1, Covers: covers})},
		"event of nothing":   {key: keys.Event("x"), value: record("x")},
		"event of nobody":    {key: keys.Event("x"), value: record("x", &pb.MaintenancePiece{State: 1})},
		"event in no state":  {key: keys.Event("x"), value: record("x", &pb.MaintenancePiece{Covers: covers})},
		"approval for ever":  {key: keys.Event("x"), value: record("x", &pb.MaintenancePiece{State: 2, Covers: covers})},
		"no reason":          {key: keys.Quarantine("kv", "1"), value: &pb.QuarantineRecord{App: "kv", Shard: "1"}},
		"other's drain":      {key: keys.Drain("a.kv"), value: &pb.DrainRecord{Server: "b.kv"}},
	} {
		t.Run(name, func(t *testing.T) {
			value := []byte("\x01 not what was written")
			if test.value != nil {
				value = encode(t, test.value)
			}
			_, err := keys.Load([]coord.Entry{{Key: test.key, Value: value, Create: 1, Modify: 1}})
			if err == nil || !strings.Contains(err.Error(), test.key) {
				t.Errorf("error %v: expected one that names %s", err, test.key)
			}
			if !errors.Is(err, wire.ErrCorrupt) && name != "no key of an app" {
				t.Errorf("error %v: expected wire.ErrCorrupt", err)
			}
		})
	}
}

// More rows than the app has shards: a spec and chunks that do not belong together.
func TestTooManyRows(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	c.write(contents, ledger.PutSpec{Spec: spec("kv", 10)}, ledger.PutChunk{App: "kv", Chunk: 0, Rows: rows(11, 3)})
	if _, err := c.tryLoad(); !errors.Is(err, wire.ErrCorrupt) || !strings.Contains(err.Error(), keys.Spec("kv")) {
		t.Errorf("error %v", err)
	}
}

// One agent's damaged key must not stop the cluster: it is left out and reported.
func TestUnreadableServerIsLeftOut(t *testing.T) {
	c := newCluster(t)
	good := c.register("a.kv", 1)
	c.txn(coord.Op{Verb: coord.Set, Key: keys.Server("b.kv"), Value: []byte("rubbish")})
	c.txn(coord.Op{Verb: coord.Set, Key: keys.Server("c.kv"), Value: encode(t, &pb.ServerRecord{Server: wire.ServerToProto(good.Server), Cluster: "c1"})})
	c.txn(coord.Op{Verb: coord.Set, Key: keys.Server("d.kv"), Value: encode(t, &pb.ServerRecord{
		Server: &pb.Server{Id: "d.kv", App: "kv", Agent: "d", Incarnation: 1}, Cluster: "c2",
	})})
	got := c.load()
	if d := cmp.Diff([]ledger.Registration{good}, got.Registered); d != "" {
		t.Error(d)
	}
	if text := errors.Join(got.Unreadable...).Error(); len(got.Unreadable) != 3 || !strings.Contains(text, keys.Server("b.kv")) {
		t.Errorf("unreadable: %v", got.Unreadable)
	}
}

// A fence commits only where the server's key is as it was read.
func TestFenceNeedsTheKeyAsItWasRead(t *testing.T) {
	c := newCluster(t)
	a := c.register("a.kv", 1)
	contents := c.load()
	fence := ledger.Fence{Owner: ledger.Owner{Server: "a.kv", Incarnation: 1}, Reason: "silent"}
	try := func(op ledger.PutFence) error {
		batches, err := keys.Encode(contents.Indexes, c.epoch, []ledger.WriteOp{ledger.PutDrain{Server: "z.kv", On: true}, op})
		if err != nil || len(batches) != 1 {
			t.Fatalf("%d batches, %v", len(batches), err)
		}
		_, err = c.store.Txn(t.Context(), batches[0])
		return err
	}
	earlier := a
	earlier.Create--
	for _, op := range []ledger.PutFence{{Fence: fence}, {Fence: fence, Registered: &earlier}} {
		var conflict *coord.ConflictError
		if err := try(op); !errors.As(err, &conflict) || !keys.IsServer(conflict.Key) {
			t.Errorf("fence with %+v: %v, expected a conflict on the server's key", op.Registered, err)
		}
	}
	if err := try(ledger.PutFence{Fence: fence, Registered: &a}); err != nil {
		t.Error(err)
	}
}

// A fence of an incarnation that has a successor already leaves the successor's key alone.
func TestFenceSparesTheSuccessor(t *testing.T) {
	c := newCluster(t)
	successor := c.register("a.kv", 2)
	contents := c.load()
	batches, err := keys.Encode(contents.Indexes, c.epoch, []ledger.WriteOp{ledger.PutFence{
		Fence: ledger.Fence{Owner: ledger.Owner{Server: "a.kv", Incarnation: 1}, Reason: "replaced"}, Registered: &successor,
	}})
	if err != nil || len(batches) != 1 {
		t.Fatalf("%d batches, %v", len(batches), err)
	}
	if _, err := c.store.Txn(t.Context(), batches[0]); err != nil {
		t.Fatal(err)
	}
	after := c.load()
	if len(after.Registered) != 1 || after.Registered[0].Server.Incarnation != 2 || len(after.Fences) != 1 {
		t.Errorf("registered %+v, fences %+v: want the successor's key and the fence", after.Registered, after.Fences)
	}
}

// What does not fit one transaction is split in order, each part within the limits, the fences first.
func TestLargeWriteIsSplit(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	r := rand.New(rand.NewSource(4))
	large := make([]ledger.Row, ledger.ChunkShards) // incompressible
	for i := range large {
		large[i] = ledger.Row{Term: shard.Term(r.Uint64()), Move: shard.MoveID(r.Uint64())}
	}
	const chunks = 8
	ops := []ledger.WriteOp{ledger.PutSpec{Spec: spec("kv", chunks*ledger.ChunkShards)}}
	for n := range chunks {
		ops = append(ops, ledger.PutChunk{App: "kv", Chunk: n, Rows: large})
	}
	ops = append(ops, ledger.PutFence{Fence: ledger.Fence{Owner: ledger.Owner{Server: "a.kv", Incarnation: 1}, Reason: "x"}})
	batches, err := keys.Encode(contents.Indexes, c.epoch, ops)
	if err != nil {
		t.Fatal(err)
	}
	if len(batches) < 2 || batches[0][1].Key != keys.Fence("a.kv") || batches[0][2].Key != keys.Spec("kv") {
		t.Fatalf("%d transactions, expected several, the fence and then the spec in the first", len(batches))
	}
	for _, batch := range batches {
		c.commit(contents, batch)
	}
	if got := c.load(); len(got.Apps) != 1 || len(got.Apps[0].Rows) != chunks*ledger.ChunkShards {
		t.Error("not all of it was stored")
	}
}

// The largest app has more keys than a transaction has operations.
func TestLargestAppIsDeleted(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	const chunks = shard.MaxShards / ledger.ChunkShards
	ops := []ledger.WriteOp{ledger.PutSpec{Spec: spec("kv", shard.MaxShards)}}
	for n := range chunks {
		ops = append(ops, ledger.PutChunk{App: "kv", Chunk: n, Rows: rows(1, 4)})
	}
	c.write(contents, ops...)
	if n := c.write(c.load(), ledger.RemoveApp{App: "kv", Chunks: chunks}); n != 2 {
		t.Errorf("deleted in %d transactions, expected 2", n)
	}
	if got := c.load(); len(got.Apps) != 0 || len(got.Leftovers) != 0 {
		t.Errorf("%d apps and %d chunks left", len(got.Apps), len(got.Leftovers))
	}
}

// A key that a write names more than once gets the last word.
func TestLastWordCounts(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	rest := func(id shard.ServerID, seconds int) ledger.PutRest {
		return ledger.PutRest{Rest: ledger.Rest{Owner: ledger.Owner{Server: id, Incarnation: 1}, Length: time.Duration(seconds) * time.Second}}
	}
	for range 2 { // where the keys are absent, and where they are there
		c.write(contents, rest("a.kv", 1), rest("a.kv", 2), rest("b.kv", 1), ledger.RemoveRest{Server: "b.kv"}, ledger.RemoveRest{Server: "c.kv"}, rest("c.kv", 3))
		want := []ledger.Rest{rest("a.kv", 2).Rest, rest("c.kv", 3).Rest}
		if d := cmp.Diff(want, c.load().Rests); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		c.write(contents, rest("b.kv", 1))
	}
}

// A deletion that was cut short leaves chunks without a spec; they are no app, and are swept.
func TestLeftoversAreSwept(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	c.write(contents, ledger.PutSpec{Spec: spec("kv", 10)}, ledger.PutChunk{App: "kv", Chunk: 0, Rows: rows(10, 5)})
	c.txn(coord.Op{Verb: coord.Delete, Key: keys.Spec("kv")})
	got := c.load()
	if len(got.Apps) != 0 || len(got.Leftovers) != 1 {
		t.Fatalf("%d apps, leftovers %v", len(got.Apps), got.Leftovers)
	}
	for _, batch := range keys.Sweep(got.Indexes, got.Leftovers) {
		c.commit(got, batch)
	}
	if got := c.load(); len(got.Leftovers) != 0 {
		t.Errorf("leftovers %v", got.Leftovers)
	}
}

// Whoever lost the lock writes nothing, and neither does one who missed a write.
func TestGuard(t *testing.T) {
	c := newCluster(t)
	contents := c.load()
	c.write(contents, ledger.PutDrain{Server: "a.kv", On: true})
	for name, test := range map[string]struct {
		session coord.SessionID
		at      coord.Index
		key     string
	}{
		"other session":   {session: "someone-else", at: contents.Sequence.Modify, key: keys.Leader()},
		"missed a write":  {session: c.session, at: contents.Sequence.Modify - 1, key: keys.Sequence()},
		"thinks it first": {session: c.session, at: 0, key: keys.Sequence()},
	} {
		guard, err := keys.Guard(test.session, test.at, c.epoch, 9)
		if err != nil {
			t.Fatal(err)
		}
		var conflict *coord.ConflictError
		if _, err := c.store.Txn(t.Context(), guard); !errors.As(err, &conflict) || conflict.Key != test.key {
			t.Errorf("%s: %v, expected a conflict on %s", name, err, test.key)
		}
	}
}
