package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const app = shard.App("kv")

func localities() *rapid.Generator[shard.Locality] {
	part := rapid.StringMatching(`[a-z]{0,3}`)
	return rapid.Custom(func(t *rapid.T) shard.Locality {
		return shard.Locality{Region: part.Draw(t, "region"), Zone: part.Draw(t, "zone"), Rack: part.Draw(t, "rack"), Host: part.Draw(t, "host")}
	})
}

func versions() *rapid.Generator[shard.Version] {
	return rapid.Custom(func(t *rapid.T) shard.Version {
		return shard.Version{
			Epoch:   shard.Epoch{Generation: rapid.Uint64().Draw(t, "generation"), Index: rapid.Uint64().Draw(t, "index")},
			Counter: rapid.Uint64().Draw(t, "counter"),
		}
	})
}

func server(t *rapid.T, agent string) shard.Server {
	s := shard.Server{
		ID: shard.MakeServerID(agent, app), App: app, Agent: agent, Incarnation: shard.Incarnation(rapid.Uint64().Draw(t, "incarnation")),
		Locality: localities().Draw(t, "locality"), Version: rapid.String().Draw(t, "version"),
		DataAddress: rapid.SampledFrom([]string{"", "127.0.0.1:80", "[::1]:1", "h:2"}).Draw(t, "data"), AgentAddress: "127.0.0.1:7420",
	}
	if rapid.Bool().Draw(t, "described") {
		s.Capacity = map[string]int64{"shards": rapid.Int64Range(0, 1<<40).Draw(t, "capacity")}
		s.Labels = map[string]string{"disk": rapid.String().Draw(t, "label")}
	}
	return s
}

func servers(t *rapid.T, least int) []shard.Server {
	var list []shard.Server
	for i := range rapid.IntRange(least, 5).Draw(t, "servers") {
		list = append(list, server(t, fmt.Sprintf("a%d", i)))
	}
	return list
}

// overWire sends a message through its bytes, so that a conversion cannot pass by sharing memory.
func overWire[M proto.Message](t *rapid.T, in, out M) M {
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *rapid.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("round trip (-want +got):\n%s", diff)
	}
}

func TestSmallTypesRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := versions().Draw(t, "version")
		same(t, v, wire.VersionFromProto(overWire(t, wire.VersionToProto(v), new(pb.MapVersion))))
		same(t, v.Epoch, wire.EpochFromProto(overWire(t, wire.EpochToProto(v.Epoch), new(pb.Epoch))))
		l := localities().Draw(t, "locality")
		same(t, l, wire.LocalityFromProto(overWire(t, wire.LocalityToProto(l), new(pb.Locality))))
		s := server(t, "a")
		got, err := wire.ServerFromProto(overWire(t, wire.ServerToProto(s), new(pb.Server)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, s, got)
	})
}

func TestHeldRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := shard.Held{Shard: "07", Phase: shard.Phase(rapid.IntRange(int(shard.None), int(shard.Forwarding)).Draw(t, "phase"))}
		if h.Phase != shard.None {
			h.Term = shard.Term(rapid.Uint64Range(1, 1<<41).Draw(t, "term"))
			h.Activated = rapid.Bool().Draw(t, "activated")
			h.Peer = shard.Peer{Server: "b.kv", Incarnation: shard.Incarnation(rapid.Uint64().Draw(t, "peer")), DataAddress: "h:1"}
		}
		h.Max = shard.Order{Term: h.Term + shard.Term(rapid.Uint64Range(0, 3).Draw(t, "above")), Move: shard.MoveID(rapid.Uint64().Draw(t, "move"))}
		got, err := wire.HeldFromProto(overWire(t, wire.HeldToProto(h), new(pb.HeldShard)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, h, got)
	})
}

func TestSnapshotAndDeltaRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := servers(t, 1)
		space := shard.HashSpace{Shards: rapid.Uint32Range(1, 9000).Draw(t, "shards")}
		d := shard.Delta{App: app, Base: versions().Draw(t, "base"), Servers: servers(t, 0), Removed: []shard.ServerID{"gone.kv"}}
		d.Version = shard.Version{Epoch: d.Base.Epoch, Counter: d.Base.Counter + 1}
		if d.Version.Counter == 0 {
			d.Base.Counter, d.Version.Counter = 0, 1
		}
		for range rapid.IntRange(0, 20).Draw(t, "entries") {
			e := shard.Entry{Index: shard.Index(rapid.Uint32Range(0, space.Shards-1).Draw(t, "index"))}
			if at := rapid.IntRange(-1, len(list)-1).Draw(t, "primary"); at >= 0 {
				e.Primary, e.Term = list[at].ID, shard.Term(rapid.Uint64Min(1).Draw(t, "term"))
			}
			for range rapid.IntRange(0, 2).Draw(t, "secondaries") {
				e.Secondaries = append(e.Secondaries, list[rapid.IntRange(0, len(list)-1).Draw(t, "secondary")].ID)
			}
			d.Shards = append(d.Shards, e)
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "names") {
			d.Names = append(d.Names, shard.Named{Index: shard.Index(i), ID: shard.ID(rapid.StringMatching(`[a-z]{0,3}`).Draw(t, "name"))})
		}
		gotDelta, err := wire.DeltaFromProto(overWire(t, wire.DeltaToProto(d), new(pb.ShardMapDelta)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, d, gotDelta)

		d.Names = nil
		m, err := shard.NewMap(app, d.Base, space, list, d.Shards)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.SnapshotFromProto(overWire(t, wire.SnapshotToProto(m), new(pb.ShardMapSnapshot)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, m.Servers(), got.Servers())
		same(t, m.Entries(), got.Entries())
		same(t, m.Version, got.Version)
		same(t, m.Space, got.Space)

		names := shard.NewNames([]shard.ID{"users", "", "orders"}[:rapid.IntRange(0, 3).Draw(t, "names")])
		if m, err = shard.NewNamedMap(app, d.Base, names, list, nil); err != nil {
			t.Fatal(err)
		}
		if got, err = wire.SnapshotFromProto(overWire(t, wire.SnapshotToProto(m), new(pb.ShardMapSnapshot))); err != nil {
			t.Fatal(err)
		}
		if got.Names == nil {
			t.Fatal("the names of the shards were lost on the way")
		}
		same(t, m.Columns(), got.Columns())
	})
}

// Each case changes one field of something valid; the error must name that field.
func TestBadInputNamesTheField(t *testing.T) {
	t.Parallel()
	valid := func() *pb.Server { return &pb.Server{Id: "a.kv", App: "kv", Agent: "a", DataAddress: "h:1"} }
	snapshot := func() *pb.ShardMapSnapshot {
		return &pb.ShardMapSnapshot{
			App: "kv", KeySpace: wire.KeySpaceToProto(shard.KeySpace{Hash: shard.HashSpace{Shards: 2}}), Servers: []*pb.Server{valid()},
			Primaries: []uint32{1, 0}, Terms: []uint64{5, 0},
		}
	}
	held := func(p pb.ShardPhase, term, highest uint64) error {
		_, err := wire.HeldFromProto(&pb.HeldShard{Shard: "1", Phase: p, Term: term, MaxTerm: highest})
		return err
	}
	ofServer := func(change func(*pb.Server)) error {
		s := valid()
		change(s)
		_, err := wire.ServerFromProto(s)
		return err
	}
	ofSnapshot := func(change func(*pb.ShardMapSnapshot)) error {
		s := snapshot()
		change(s)
		_, err := wire.SnapshotFromProto(s)
		return err
	}
	ofDelta := func(change func(*pb.ShardMapDelta)) error {
		d := &pb.ShardMapDelta{App: "kv", Version: &pb.MapVersion{Counter: 1}}
		change(d)
		_, err := wire.DeltaFromProto(d)
		return err
	}
	for field, err := range map[string]error{
		"server.id":              ofServer(func(s *pb.Server) { s.Id = "b.kv" }),
		"server.app":             ofServer(func(s *pb.Server) { s.App = "" }),
		"server.agent":           ofServer(func(s *pb.Server) { s.Agent = "" }),
		"server.data_address":    ofServer(func(s *pb.Server) { s.DataAddress = "nowhere" }),
		"server.agent_address":   ofServer(func(s *pb.Server) { s.AgentAddress = "nowhere" }),
		"server.capacity.cpu":    ofServer(func(s *pb.Server) { s.Capacity = map[string]int64{"cpu": -1} }),
		"held.1.term":            held(pb.ShardPhase_SHARD_PHASE_PRIMARY, 0, 9),
		"held.1.max_term":        held(pb.ShardPhase_SHARD_PHASE_PREPARED, 9, 8),
		"held.1.phase":           held(9, 1, 1),
		"snapshot.app":           ofSnapshot(func(s *pb.ShardMapSnapshot) { s.App = "" }),
		"key_space.hash.shards":  ofSnapshot(func(s *pb.ShardMapSnapshot) { s.KeySpace.GetHash().Shards = shard.MaxShards + 1 }),
		"key_space:":             ofSnapshot(func(s *pb.ShardMapSnapshot) { s.KeySpace = nil }),
		"snapshot.primaries:":    ofSnapshot(func(s *pb.ShardMapSnapshot) { s.Primaries = nil }),
		"snapshot.primaries[1]":  ofSnapshot(func(s *pb.ShardMapSnapshot) { s.Primaries[1] = 2 }),
		"snapshot.terms:":        ofSnapshot(func(s *pb.ShardMapSnapshot) { s.Terms = nil }),
		"snapshot.terms[0]":      ofSnapshot(func(s *pb.ShardMapSnapshot) { s.Terms[0] = 0 }),
		"snapshot.servers[1].id": ofSnapshot(func(s *pb.ShardMapSnapshot) { s.Servers = append(s.Servers, valid()) }),
		"snapshot.servers[0].app": ofSnapshot(func(s *pb.ShardMapSnapshot) {
			s.Servers[0].App, s.Servers[0].Id = "other", "a.other"
		}),
		"delta.app":                ofDelta(func(d *pb.ShardMapDelta) { d.App = "" }),
		"delta.version":            ofDelta(func(d *pb.ShardMapDelta) { d.Version = nil }),
		"delta.removed_servers[0]": ofDelta(func(d *pb.ShardMapDelta) { d.RemovedServers = []string{""} }),
		"delta.shards[0].index":    ofDelta(func(d *pb.ShardMapDelta) { d.Shards = []*pb.ShardMapEntry{{Index: shard.MaxShards}} }),
		"delta.shards[0].term":     ofDelta(func(d *pb.ShardMapDelta) { d.Shards = []*pb.ShardMapEntry{{Primary: "a.kv"}} }),
	} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got error %v, expected one that names the field", field, err)
		}
	}
}
