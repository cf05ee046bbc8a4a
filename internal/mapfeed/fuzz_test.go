package mapfeed

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func marshalled(f *testing.F, m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

func smallSnapshot() *pb.ShardMapSnapshot {
	return &pb.ShardMapSnapshot{App: "kv", Version: &pb.MapVersion{Epoch: &pb.Epoch{Index: 1}, Counter: 1},
		KeySpace: wire.KeySpaceToProto(shard.KeySpace{Hash: shard.HashSpace{Shards: 3}}), Servers: []*pb.Server{{Id: "a.kv", App: "kv", Agent: "a", DataAddress: "h:1"}},
		Primaries: []uint32{1, 0, 1}, Terms: []uint64{5, 0, 6}, Secondaries: []*pb.SecondaryColumn{{Servers: []uint32{0, 1, 0}}}}
}

// FuzzCache: whatever is in the file, its map is taken whole and is the same once it is written and read again, it is refused by its
// name, or moved aside as it was.
func FuzzCache(f *testing.F) {
	whole := marshalled(f, smallSnapshot())
	for _, record := range []*pb.RouterCache{{}, {Cluster: "c1", App: "kv", Snapshot: whole}, {App: "kv", Snapshot: whole}, {Cluster: "c2", App: "kv"}, {Cluster: "c1", App: "kv", Snapshot: whole[1:]}} {
		f.Add(marshalled(f, record), true)
		good, err := wire.Encode(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good[:len(good)-1], false)
	}
	f.Fuzz(func(t *testing.T, contents []byte, sealed bool) {
		if sealed {
			record := new(pb.RouterCache)
			if proto.Unmarshal(contents, record) != nil {
				return
			}
			var err error
			if contents, err = wire.Encode(record); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(t.TempDir(), "kv.map")
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		c, m, err := OpenCache(path, "c1", "kv")
		switch {
		case err != nil && (m != nil || !strings.Contains(err.Error(), path)):
			t.Fatalf("refused: %v, with a map: %t", err, m != nil)
		case errors.Is(err, wire.ErrCorrupt):
			aside, _ := filepath.Glob(path + ".corrupt-*")
			if len(aside) != 1 || c == nil {
				t.Fatalf("aside: %v", aside)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, contents) {
				t.Fatalf("moved aside: %q, %v", kept, err)
			}
		case err == nil && m != nil:
			other, _, err := OpenCache(path+"2", "c1", "kv")
			if err != nil {
				t.Fatal(err)
			}
			other.pending = m
			if err := other.flush(); err != nil {
				t.Fatal(err)
			}
			_, again, err := OpenCache(path+"2", "c1", "kv")
			if err != nil || !identical(m, again) {
				t.Fatalf("written and read again: %v, %v", again, err)
			}
		}
	})
}

func identical(a, b *shard.Map) bool {
	return a.App == b.App && a.Version == b.Version && a.Space == b.Space && cmp.Equal(a.Servers(), b.Servers(), cmpopts.EquateEmpty()) &&
		cmp.Equal(entries(a), entries(b), cmpopts.EquateEmpty())
}

// entries are those of a map; without a primary there is no term.
func entries(m *shard.Map) []shard.Entry {
	list := m.Entries()
	for i := range list {
		if list[i].Primary == "" {
			list[i].Term = 0
		}
	}
	return list
}

// dangles reports whether a shard names a server that is removed: a leader never says that.
func dangles(m *shard.Map) bool {
	for i := range m.Space.Shards {
		if s, _ := m.Lookup(shard.Index(i)); s != nil && s.ID == "" {
			return true
		}
		for k := range 64 {
			if s := m.Secondary(shard.Index(i), k); s != nil && s.ID == "" {
				return true
			}
		}
	}
	return false
}

// FuzzFollower: whatever a hub sends, in whatever order, a follower refuses it or has a map of its app; that is newer than the one before,
// and says the same as a snapshot.
func FuzzFollower(f *testing.F) {
	stream := func(messages ...*pb.WatchResponse) []byte {
		var all []byte
		for _, m := range messages {
			raw := marshalled(f, m)
			all = append(append(all, byte(len(raw)>>8), byte(len(raw))), raw...)
		}
		return all
	}
	snapshot := &pb.WatchResponse{Message: &pb.WatchResponse_Snapshot{Snapshot: smallSnapshot()}}
	delta := func(d *pb.ShardMapDelta) *pb.WatchResponse {
		d.App, d.Base, d.Version = "kv", &pb.MapVersion{Epoch: &pb.Epoch{Index: 1}, Counter: 1}, &pb.MapVersion{Epoch: &pb.Epoch{Index: 1}, Counter: 2}
		return &pb.WatchResponse{Message: &pb.WatchResponse_Delta{Delta: d}}
	}
	f.Add(stream(snapshot, delta(&pb.ShardMapDelta{Shards: []*pb.ShardMapEntry{{Index: 1, Primary: "a.kv", Term: 7, Secondaries: []string{"a.kv"}}}})))
	f.Add(stream(snapshot, delta(&pb.ShardMapDelta{RemovedServers: []string{"a.kv"}, Shards: []*pb.ShardMapEntry{{Index: 0}, {Index: 1}, {Index: 2}}})))
	f.Add(stream(snapshot, snapshot, delta(&pb.ShardMapDelta{Names: []*pb.NamedShard{{Index: 5, Id: "x"}}})))
	f.Add(stream(&pb.WatchResponse{Message: &pb.WatchResponse_KeepAlive{KeepAlive: &pb.KeepAlive{BehindMs: 5}}}))
	f.Fuzz(func(t *testing.T, input []byte) {
		follower, err := NewFollower(FollowerConfig{App: "kv", Addresses: []string{"h:1"}}, func(Update) {}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for len(input) > 2 {
			n := min(int(input[0])<<8|int(input[1]), len(input)-2)
			response := new(pb.WatchResponse)
			raw := input[2 : 2+n]
			input = input[2+n:]
			if proto.Unmarshal(raw, response) != nil {
				continue
			}
			before := follower.Map()
			err := follower.take(response)
			after := follower.Map()
			if err != nil && after != before {
				t.Fatalf("refused (%v), and taken", err)
			}
			if after == before || after == nil {
				continue
			}
			if after.App != "kv" || before != nil && after.Version.Compare(before.Version) <= 0 {
				t.Fatalf("map %s of %s after %s", after.Version, after.App, before.Version)
			}
			if dangles(after) {
				return
			}
			if again, err := wire.SnapshotFromProto(wire.SnapshotToProto(after)); err != nil || !identical(after, again) {
				t.Fatalf("as a snapshot it says something else: %v", err)
			}
		}
	})
}
