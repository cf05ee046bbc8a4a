package wire_test

import (
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// conversion turns bytes into a message, that into the vocabulary, and back, twice. It says whether the message was taken, and what was
// not the same the second time.
type conversion func(raw []byte) (taken bool, err error)

// converts is the conversion of one kind of message. What is refused is refused with the field.
func converts[M interface {
	*T
	proto.Message
}, T, D any](from func(M) (D, error), to func(D) M) conversion {
	return func(raw []byte) (bool, error) {
		m := M(new(T))
		if proto.Unmarshal(raw, m) != nil {
			return false, nil
		}
		first, err := from(m)
		if err != nil {
			if wrong := (*wire.FieldError)(nil); !errors.As(err, &wrong) || wrong.Field == "" || wrong.Expected == "" {
				return false, fmt.Errorf("an error without its field: %w", err)
			}
			return false, nil
		}
		back := to(first)
		second, err := from(back)
		if err != nil {
			return true, fmt.Errorf("taken once, and refused when it came back: %w", err)
		}
		if diff := cmp.Diff(first, second, mapped, cmp.AllowUnexported(latency.Matrix{}), cmpopts.EquateEmpty()); diff != "" {
			return true, errors.New("(-first +second)\n" + diff)
		}
		if again := to(second); !proto.Equal(back, again) {
			return true, fmt.Errorf("written as %v, and then as %v", back, again)
		}
		return true, nil
	}
}

func sound[M, D any](from func(M) D) func(M) (D, error) {
	return func(m M) (D, error) { return from(m), nil }
}

// conversions are all there are; the position is what seeds name.
var conversions = []conversion{
	converts(wire.ServerFromProto, wire.ServerToProto),
	converts(wire.HeldFromProto, wire.HeldToProto),
	converts(whole, wire.SnapshotToProto),
	converts(wire.DeltaFromProto, wire.DeltaToProto),
	converts(wire.KeySpaceFromProto, wire.KeySpaceToProto),
	converts(wire.CoordinateFromProto, wire.CoordinateToProto),
	converts(sound(wire.VersionFromProto), wire.VersionToProto),
	converts(sound(wire.LocalityFromProto), wire.LocalityToProto),
	converts(sound(wire.PeerFromProto), wire.PeerToProto),
	converts(sound(wire.UsageFromProto), wire.UsageToProto),
	converts(func(r *pb.Command) ([]shard.Member, error) { return wire.MembersFromProto(r.GetMembers()), nil },
		func(m []shard.Member) *pb.Command { return &pb.Command{Members: wire.MembersToProto(m)} }),
	converts(func(r *pb.RegionLatencies) (latency.Matrix, error) { return wire.LatenciesFromProto(r.GetPairs()), nil },
		func(m latency.Matrix) *pb.RegionLatencies {
			return &pb.RegionLatencies{Pairs: wire.LatenciesToProto(m)}
		}),
	converts(func(r *pb.Renew) ([]progress.Transfer, error) { return wire.TransfersFromProto(r.GetTransfers()), nil },
		func(l []progress.Transfer) *pb.Renew { return &pb.Renew{Transfers: wire.TransfersToProto(l)} }),
}

// whole checks what every reader of a map may rely on.
func whole(p *pb.ShardMapSnapshot) (*shard.Map, error) {
	m, err := wire.SnapshotFromProto(p)
	if err != nil {
		return nil, err
	}
	for _, e := range m.Entries() {
		if s, term := m.Lookup(e.Index); s != nil && (term == 0 || m.Address(e.Index) != s.DataAddress) {
			panic(fmt.Sprintf("shard %d: server %s at term %d and address %s", e.Index, s.ID, term, m.Address(e.Index)))
		}
	}
	return m, nil
}

// mapped is what there is to see of a map.
var mapped = cmp.Transformer("map", func(m *shard.Map) any {
	return struct {
		App     shard.App
		Version shard.Version
		Space   shard.HashSpace
		Servers []shard.Server
		Columns shard.Columns
	}{m.App, m.Version, m.Space, m.Servers(), m.Columns()}
})

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// FuzzConversions: whatever a peer says is refused with the field that is wrong, or taken; and what is taken says the same again.
func FuzzConversions(f *testing.F) {
	server := &pb.Server{Id: "a.kv", App: "kv", Agent: "a", Incarnation: 7, DataAddress: "[::1]:1", Locality: &pb.Locality{Zone: "z"}, Capacity: map[string]int64{"cpu": 1},
		Labels: map[string]string{"disk": "ssd"}}
	version := &pb.MapVersion{Epoch: &pb.Epoch{Index: 3}, Counter: 9}
	for kind, m := range []proto.Message{
		server,
		&pb.HeldShard{Shard: "1", Phase: pb.ShardPhase_SHARD_PHASE_FORWARDING, Term: 2, MaxTerm: 3, MaxMove: 4, Peer: &pb.Peer{Server: "b.kv", Incarnation: 1}},
		&pb.ShardMapSnapshot{App: "kv", Version: version, KeySpace: wire.KeySpaceToProto(shard.KeySpace{Hash: shard.HashSpace{Shards: 2}}), Servers: []*pb.Server{server},
			Primaries: []uint32{1, 0}, Terms: []uint64{5, 0}, Secondaries: []*pb.SecondaryColumn{{Servers: []uint32{0, 1}}}},
		&pb.ShardMapDelta{App: "kv", Version: version, Servers: []*pb.Server{server}, RemovedServers: []string{"b.kv"},
			Shards: []*pb.ShardMapEntry{{Index: 1, Primary: "a.kv", Term: 1, Secondaries: []string{"b.kv"}}}, Names: []*pb.NamedShard{{Index: 1, Id: "x"}}},
		&pb.KeySpace{Kind: &pb.KeySpace_Named{Named: &pb.NamedKeySpace{}}},
		&pb.NetworkCoordinate{VectorNs: []int64{1, -2}, HeightNs: 3, AdjustmentNs: -4, ErrorPermille: 5},
		version, &pb.Locality{Region: "r", Zone: "z", Rack: "k", Host: "h"}, &pb.Peer{Server: "a.kv", Incarnation: 1, DataAddress: "h:1"},
		&pb.HostUsage{Host: &pb.Resources{Used: map[string]int64{"cpu_milli": 1, "x": -1}}, Cgroup: &pb.Resources{Limit: map[string]int64{"memory_bytes": 5}}},
		&pb.Command{Members: []*pb.Member{{Peer: &pb.Peer{Server: "a.kv"}, InSync: true}, {}}},
		&pb.RegionLatencies{Pairs: []*pb.RegionLatency{{From: "b", To: "a", MedianNs: 5, ErrorPermille: 1, AgeMs: 7, Pairs: 3, Configured: true}, {From: "c", To: "d", MedianNs: 1, AgeMs: 1<<63 - 1}}},
		&pb.Renew{Transfers: []*pb.TransferProgress{{Shard: "1", Term: 2, Move: 3, ReceivedBytes: 4, TotalBytes: 5}}},
	} {
		f.Add(byte(kind), marshal(f, m))
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		if _, err := conversions[int(kind)%len(conversions)](raw); err != nil {
			t.Fatalf("kind %d: %v", int(kind)%len(conversions), err)
		}
	})
}

// kinds are the messages of our protocol, by name: any of them can be stored.
func kinds() []protoreflect.MessageType {
	var list []protoreflect.MessageType
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		if m.Descriptor().FullName().Parent() == "shardmanager.v1" {
			list = append(list, m)
		}
		return true
	})
	slices.SortFunc(list, func(a, b protoreflect.MessageType) int {
		return strings.Compare(string(a.Descriptor().FullName()), string(b.Descriptor().FullName()))
	})
	return list
}

// FuzzEveryKind: a message of any kind is what it was when it comes back from the store, and its stored form is always the same bytes.
// Bytes that are no message of the kind are corrupt.
func FuzzEveryKind(f *testing.F) {
	all := kinds()
	if len(all) < 100 {
		f.Fatalf("%d kinds of messages: there are more", len(all))
	}
	at := func(m proto.Message) uint16 {
		return uint16(slices.IndexFunc(all, func(k protoreflect.MessageType) bool { return k.Descriptor() == m.ProtoReflect().Descriptor() }))
	}
	for _, m := range []proto.Message{
		&pb.AssignmentChunk{Servers: []*pb.ChunkServer{{Id: "a.kv", Incarnation: 7}}, Terms: []uint64{1}, Moves: []uint64{1}, Primaries: []uint32{1}, PrimaryTerms: []uint64{1}},
		&pb.ServerRecord{Cluster: "c", Server: &pb.Server{Id: "a.kv"}, Ended: []uint64{1, 2}}, &pb.AgentState{Cluster: "c", Incarnation: 1}, &pb.AllocatorState{Session: "s"},
		&pb.RouterCache{App: "kv", Snapshot: []byte{1}}, &pb.GossipPeers{Addresses: []string{"h:1"}}, &pb.SequenceRecord{Write: 1}, &pb.FenceRecord{Incarnation: 1},
	} {
		f.Add(at(m), marshal(f, m))
	}
	f.Fuzz(func(t *testing.T, kind uint16, raw []byte) {
		k := all[int(kind)%len(all)]
		m, again := k.New().Interface(), k.New().Interface()
		if proto.Unmarshal(raw, m) != nil {
			if err := wire.Decode(sealed(compressed(t, raw)), again); !errors.Is(err, wire.ErrCorrupt) {
				t.Fatalf("no %s, and taken for one: %v", k.Descriptor().Name(), err)
			}
			return
		}
		first := encode(t, m)
		if err := wire.Decode(first, again); err != nil || !proto.Equal(m, again) {
			t.Fatalf("%s: %v came back as %v (%v)", k.Descriptor().Name(), m, again, err)
		}
		if !slices.Equal(first, encode(t, again)) {
			t.Fatalf("%s: stored in two ways: %v", k.Descriptor().Name(), m)
		}
	})
}

// compressed is a body of the present format.
func compressed(t testing.TB, raw []byte) []byte {
	t.Helper()
	e, err := compressor()
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(raw, []byte{1})
}

var compressor = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)) })

// allocated is how many bytes the process has allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzDecodeMemory: a few bytes can say that they are many. Whatever they say, decoding takes no more than a few of the largest values.
func FuzzDecodeMemory(f *testing.F) {
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0})                // content of 64 MiB announced, none there
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}) // and of more than there is
	f.Add(compressed(f, make([]byte, 1<<20))[1:])
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > 64<<10 {
			return
		}
		before := allocated()
		err := wire.Decode(sealed(append([]byte{1}, frame...)), new(pb.AgentState))
		if err != nil && !errors.Is(err, wire.ErrCorrupt) {
			t.Fatal(err)
		}
		if took := allocated() - before; took > 4*wire.MaxDecoded {
			t.Fatalf("%d bytes took %d to decode", len(frame), took)
		}
	})
}
