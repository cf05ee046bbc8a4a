package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func value(t testing.TB, m proto.Message) []byte {
	t.Helper()
	v, err := wire.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// entries are a small cluster.
func entries(t testing.TB) []coord.Entry {
	t.Helper()
	chunk := &pb.AssignmentChunk{
		Servers: []*pb.ChunkServer{{Id: "a.kv", Incarnation: 1}, {Id: "b.kv", Incarnation: 2}},
		Terms:   []uint64{7, 3 << 40}, Moves: []uint64{4, 5}, Primaries: []uint32{1, 2}, PrimaryTerms: []uint64{7, 3 << 40},
		Open: []*pb.ChunkMove{{Row: 1, Move: 5, Term: 3 << 40, From: 2, To: 1, Reason: pb.MoveReason_MOVE_REASON_DRAIN, Phase: 1}},
	}
	spec := &pb.AppSpec{Name: "kv", KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: 2}}}, Replication: pb.Replication_REPLICATION_PRIMARY_ONLY, ResourceVersion: 9}
	list := []coord.Entry{
		{Key: "shardmanager/c1/g/default/apps/kv/assign/0000", Value: value(t, chunk), Create: 4, Modify: 41},
		{Key: "shardmanager/c1/g/default/apps/kv/spec", Value: value(t, &pb.AppRecord{Spec: spec}), Create: 3, Modify: 3},
		{Key: "shardmanager/c1/g/default/drains/b.kv", Value: value(t, &pb.DrainRecord{Server: "b.kv"}), Create: 5, Modify: 5},
		{Key: "shardmanager/c1/g/default/leader", Value: value(t, &pb.LeaderRecord{Allocator: "a1"}), Create: 1, Modify: 2, Session: "s"},
		{Key: "shardmanager/c1/g/default/sequence", Value: value(t, &pb.SequenceRecord{Epoch: &pb.Epoch{Generation: 3, Index: 2}, Write: 6}), Create: 2, Modify: 41},
		{Key: "shardmanager/c1/g/other/leader", Value: []byte("later"), Create: 6, Modify: 6},
		{Key: "shardmanager/c1/servers/a.kv", Value: []byte("nonsense"), Create: 6, Modify: 7},
	}
	return list
}

func file(t testing.TB, list []coord.Entry) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, &pb.SnapshotHeader{Cluster: "c1", Group: "default", Allocator: "a1", Version: "test", TimeMs: 1}, list); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	list := entries(t)
	got, err := Read(bytes.NewReader(file(t, list)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, got.Entries); diff != "" {
		t.Error(diff)
	}
	s, err := got.Summary()
	if err != nil {
		t.Fatal(err)
	}
	have := fmt.Sprintf("%d entries, index %d, epoch %v, generation %d, leader %s, %d drains, %d others, %d unreadable, %v",
		s.GetEntries(), s.GetIndex(), wire.EpochFromProto(s.GetEpoch()), s.GetGeneration(), s.GetLeader(), s.GetDrains(), s.GetOtherGroups(), len(s.GetUnreadable()), s.GetApps())
	for _, want := range []string{"7 entries, index 41, epoch 3.2, generation 3, leader a1, 1 drains, 1 others, 1 unreadable", "shards:2", "primaries:2", "moves:1", "resource_version:9", fmt.Sprint(3 << 40)} {
		if !strings.Contains(strings.ReplaceAll(have, "  ", " "), want) {
			t.Errorf("%s lacks %s", have, want)
		}
	}
}

// Whatever is changed in a file, or missing at its end, or added to it: it is refused.
func TestDamage(t *testing.T) {
	good := file(t, entries(t))
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if i >= 4 && i < 10 { // gzip's own header says when, how and where it was packed
			continue
		}
		if s, err := Read(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d of %d is changed, and %d entries are read", i, len(good), len(s.Entries))
		}
		if _, err := Read(bytes.NewReader(good[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d of %d bytes: %v", i, len(good), err)
		}
	}
	if _, err := Read(bytes.NewReader(append(slices.Clone(good), good...))); !errors.Is(err, ErrDamaged) {
		t.Errorf("twice the same: %v", err)
	}
	if _, err := Read(strings.NewReader("apps: []\n")); err == nil || !strings.Contains(err.Error(), "not a snapshot") {
		t.Errorf("another kind of file: %v", err)
	}
	list := entries(t)
	list[0], list[1] = list[1], list[0]
	if _, err := Read(bytes.NewReader(file(t, list))); !errors.Is(err, ErrDamaged) {
		t.Errorf("keys out of order: %v", err)
	}
}

func TestEmptyAndUnreadable(t *testing.T) {
	var out bytes.Buffer
	header := &pb.SnapshotHeader{Cluster: "c1"}
	if err := Write(&out, header, nil); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&out)
	if err != nil || got.Header.GetFormat() != 1 {
		t.Fatal(got, err)
	}
	s := &Snapshot{Header: &pb.SnapshotHeader{Cluster: "c1", Group: "default"}, Entries: []coord.Entry{{Key: "shardmanager/c1/g/default/apps/kv/spec", Value: []byte("x")}}}
	if _, err := s.Summary(); err == nil || !strings.Contains(err.Error(), "apps/kv/spec") {
		t.Errorf("a value that is nonsense: %v", err)
	}
}

// FuzzRead: nothing breaks the reader, and what it takes can be written again.
func FuzzRead(f *testing.F) {
	good := file(f, entries(f))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, contents []byte) {
		s, err := Read(bytes.NewReader(contents))
		if err != nil {
			return
		}
		again, err := Read(bytes.NewReader(file(t, s.Entries)))
		if err != nil || len(again.Entries) != len(s.Entries) {
			t.Fatalf("%d entries are %v (%v) when written again", len(s.Entries), again, err)
		}
	})
}
