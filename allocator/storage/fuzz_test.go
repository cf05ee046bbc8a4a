package storage_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// written is everything of a group's contents, as operations that write it anew; chunks are left to whoever knows where they end.
func written(c *storage.Contents) []ledger.WriteOp {
	var ops []ledger.WriteOp
	for _, f := range c.Fences {
		ops = append(ops, ledger.PutFence{Fence: f})
	}
	for _, a := range c.Apps {
		ops = append(ops, ledger.PutSpec{Spec: a.Spec})
		for n := range slices.Collect(slices.Chunk(a.Rows, ledger.ChunkShards)) {
			ops = append(ops, ledger.PutChunk{App: a.Spec.Name, Chunk: n, Rows: a.Rows[n*ledger.ChunkShards : min(len(a.Rows), (n+1)*ledger.ChunkShards)]})
		}
	}
	for _, r := range c.Rests {
		ops = append(ops, ledger.PutRest{Rest: r})
	}
	for _, d := range c.Drains {
		ops = append(ops, ledger.PutDrain{Server: d, On: true})
	}
	for _, id := range shard.SortedKeys(c.Probations) {
		ops = append(ops, ledger.PutMark{Row: probation.PutProbation{Server: id, Probation: c.Probations[id]}})
	}
	for _, q := range c.Quarantines {
		ops = append(ops, ledger.PutMark{Row: probation.PutQuarantine{Quarantine: q}})
	}
	for _, e := range c.Events {
		ops = append(ops, ledger.PutEvent{Row: maintenance.Row{Event: e}})
	}
	return ops
}

// entriesOf are the values that operations write, as a store would list them.
func entriesOf(batches [][]coord.Op) []coord.Entry {
	var entries []coord.Entry
	for _, batch := range batches {
		for _, op := range batch {
			if op.Verb == coord.CAS {
				entries = append(entries, coord.Entry{Key: op.Key, Value: op.Value, Create: 1, Modify: 1})
			}
		}
	}
	slices.SortFunc(entries, func(a, b coord.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries
}

// loads reads entries. If they are refused it says of which key, and that the value is corrupt, or the key none of ours; if they are
// taken, what was read is written, read again and the same.
func loads(t *testing.T, entries []coord.Entry) {
	c, err := keys.Load(entries)
	if err != nil {
		if !strings.Contains(err.Error(), entries[0].Key) || !errors.Is(err, wire.ErrCorrupt) && !strings.Contains(err.Error(), "not a key of an app") {
			t.Fatalf("refused without saying what and why: %v", err)
		}
		return
	}
	batches, err := keys.Encode(c.Indexes, shard.Epoch{Index: 1}, written(c))
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	again, err := keys.Load(entriesOf(batches))
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	seen := func(c *storage.Contents) any {
		return []any{c.Apps, c.Fences, c.Rests, c.Drains, c.Probations, c.Quarantines, c.Events}
	}
	if diff := cmp.Diff(seen(c), seen(again), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read, written and read again (-first +second):\n%s", diff)
	}
}

// FuzzChunk: a chunk's columns are refused where they contradict each other, or are rows that say the same when they come back.
func FuzzChunk(f *testing.F) {
	const shards = 8
	for _, all := range [][]ledger.Row{rows(8, 1), rows(5, 2), rows(1, 3), nil} {
		c, err := keys.Encode(&storage.Indexes{}, shard.Epoch{}, []ledger.WriteOp{ledger.PutChunk{App: "kv", Chunk: 0, Rows: all}})
		if err != nil {
			f.Fatal(err)
		}
		chunk := new(pb.AssignmentChunk)
		if err := wire.Decode(c[0][0].Value, chunk); err != nil {
			f.Fatal(err)
		}
		raw, err := proto.Marshal(chunk)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		chunk := new(pb.AssignmentChunk)
		if proto.Unmarshal(raw, chunk) != nil || len(chunk.GetTerms()) > shards {
			return
		}
		app := &pb.AppRecord{Spec: &pb.AppSpec{Name: "kv", KeySpace: wire.KeySpaceToProto(shard.KeySpace{Hash: shard.HashSpace{Shards: shards}})}}
		loads(t, []coord.Entry{{Key: keys.Chunk("kv", 0), Value: encode(t, chunk), Modify: 1}, {Key: keys.Spec("kv"), Value: encode(t, app), Modify: 1}})
	})
}

// FuzzEntry: any value under any key of the group.
func FuzzEntry(f *testing.F) {
	add := func(key string, m proto.Message) {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimPrefix(key, keys.Root()), raw)
	}
	add(keys.Spec("kv"), &pb.AppRecord{Spec: &pb.AppSpec{Name: "kv", KeySpace: wire.KeySpaceToProto(shard.KeySpace{Named: true})}})
	add(keys.Chunk("kv", 3), &pb.AssignmentChunk{})
	add(keys.Fence("a.kv"), &pb.FenceRecord{Incarnation: 1, Reason: "silent"})
	add(keys.Rest("a.kv"), &pb.RestRecord{Incarnation: 1, LengthNs: 5})
	add(keys.Drain("a.kv"), &pb.DrainRecord{Server: "a.kv"})
	add(keys.Probation("a.kv"), &pb.ProbationRecord{Server: "a.kv", Fences: 2, WindowNs: 1, LengthNs: 2, LeftNs: 3, Reason: "r"})
	add(keys.Quarantine("kv", "a/b"), &pb.QuarantineRecord{App: "kv", Shard: "a/b", Reason: "r"})
	add(keys.Event("os-1"), &pb.MaintenanceRecord{Event: &pb.MaintenanceEvent{Request: &pb.MaintenanceRequest{Id: "os-1", Kind: 1, Impact: 1, DurationMs: 5, StartMs: 7},
		Pieces: []*pb.MaintenancePiece{{State: 1, Covers: []*pb.MaintenancePiece_Covered{{Server: "a.kv", Incarnation: 2}}}}, Turn: 3}})
	add(keys.Leader(), &pb.LeaderRecord{Allocator: "a1"})
	add(keys.Sequence(), &pb.SequenceRecord{Write: 4})
	add(keys.Server("a.kv"), &pb.ServerRecord{Cluster: "c1", Server: &pb.Server{Id: "a.kv", App: "kv", Agent: "a", Incarnation: 3}, Ended: []uint64{1}})
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		if len(raw) > 1<<14 {
			return
		}
		record := kindAt(name)
		if proto.Unmarshal(raw, record) != nil {
			loads(t, []coord.Entry{{Key: keys.Root() + name, Value: raw, Modify: 1}})
			return
		}
		loads(t, []coord.Entry{{Key: keys.Root() + name, Value: encode(t, record), Modify: 1}})
	})
}

// kindAt is what belongs under a key.
func kindAt(name string) proto.Message {
	key := keys.Root() + name
	for _, k := range []struct {
		prefix string
		m      proto.Message
	}{
		{keys.Servers(), new(pb.ServerRecord)}, {keys.Leader(), new(pb.LeaderRecord)}, {keys.Sequence(), new(pb.SequenceRecord)},
		{keys.Fence(""), new(pb.FenceRecord)}, {keys.Rest(""), new(pb.RestRecord)}, {keys.Drain(""), new(pb.DrainRecord)}, {keys.Probation(""), new(pb.ProbationRecord)},
		{strings.TrimSuffix(keys.Quarantines(""), "/"), new(pb.QuarantineRecord)}, {keys.Event(""), new(pb.MaintenanceRecord)},
	} {
		if strings.HasPrefix(key, k.prefix) {
			return k.m
		}
	}
	if strings.Contains(name, "/assign/") {
		return new(pb.AssignmentChunk)
	}
	return new(pb.AppRecord)
}
