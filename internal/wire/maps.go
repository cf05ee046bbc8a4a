package wire

import (
	"fmt"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// SnapshotToProto converts a whole map, in columns.
func SnapshotToProto(m *shard.Map) *pb.ShardMapSnapshot {
	servers, columns := m.Servers(), m.Columns()
	out := &pb.ShardMapSnapshot{
		App: string(m.App), Version: VersionToProto(m.Version), KeySpace: spaceOfMap(m, columns.Names),
		Servers: make([]*pb.Server, len(servers)), Primaries: columns.Primaries, Terms: make([]uint64, len(columns.Terms)),
	}
	for i, s := range servers {
		out.Servers[i] = ServerToProto(s)
	}
	for i, term := range columns.Terms {
		out.Terms[i] = uint64(term)
	}
	for _, column := range columns.Secondaries {
		out.Secondaries = append(out.Secondaries, &pb.SecondaryColumn{Servers: column})
	}
	return out
}

// SnapshotFromProto converts and checks a whole map: one primary and one term for each shard, and servers of this app only.
func SnapshotFromProto(p *pb.ShardMapSnapshot) (*shard.Map, error) {
	if p.GetApp() == "" {
		return nil, expected("snapshot.app", "the name of an app")
	}
	space, names, err := spaceFromMap(p.KeySpace)
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", p.App, err)
	}
	if uint64(len(p.Primaries)) != uint64(space.Shards) {
		return nil, expected("snapshot.primaries", "one for each of %d shards, not %d", space.Shards, len(p.Primaries))
	}
	if uint64(len(p.Terms)) != uint64(space.Shards) {
		return nil, expected("snapshot.terms", "one for each of %d shards, not %d", space.Shards, len(p.Terms))
	}
	servers, err := serversOf(p.App, "snapshot.servers", p.Servers)
	if err != nil {
		return nil, err
	}
	columns := shard.Columns{Names: names, Primaries: p.Primaries, Terms: make([]shard.Term, len(p.Terms))}
	for i, at := range p.Primaries {
		switch {
		case uint64(at) > uint64(len(servers)):
			return nil, expected(fmt.Sprintf("snapshot.primaries[%d]", i), "at most %d, the number of servers, not %d", len(servers), at)
		case at != 0 && p.Terms[i] == 0:
			return nil, expected(fmt.Sprintf("snapshot.terms[%d]", i), "the term of the primary, not 0")
		case at != 0:
			columns.Terms[i] = shard.Term(p.Terms[i])
		}
	}
	if columns.Secondaries, err = secondariesOf(p, len(servers)); err != nil {
		return nil, err
	}
	return shard.MapOfColumns(shard.App(p.App), VersionFromProto(p.Version), space, servers, columns)
}

// maxSecondaries is the most secondaries that a shard may have.
const maxSecondaries = 64

// secondariesOf checks the columns of secondaries. A shard without secondary k has none after it either.
func secondariesOf(p *pb.ShardMapSnapshot, servers int) ([][]uint32, error) {
	if len(p.Secondaries) > maxSecondaries {
		return nil, expected("snapshot.secondaries", "at most %d columns, not %d", maxSecondaries, len(p.Secondaries))
	}
	columns := make([][]uint32, 0, len(p.Secondaries))
	for k, column := range p.Secondaries {
		field := fmt.Sprintf("snapshot.secondaries[%d]", k)
		if len(column.GetServers()) != len(p.Primaries) {
			return nil, expected(field, "one for each of %d shards, not %d", len(p.Primaries), len(column.GetServers()))
		}
		for i, at := range column.Servers {
			if uint64(at) > uint64(servers) {
				return nil, expected(fmt.Sprintf("%s[%d]", field, i), "at most %d, the number of servers, not %d", servers, at)
			}
			if at != 0 && k > 0 && columns[k-1][i] == 0 {
				return nil, expected(fmt.Sprintf("%s[%d]", field, i), "no secondary where the column before has none")
			}
		}
		columns = append(columns, column.Servers)
	}
	return columns, nil
}

// serversOf converts servers of one app; each may be listed once.
func serversOf(app, field string, list []*pb.Server) ([]shard.Server, error) {
	servers := make([]shard.Server, len(list))
	seen := make(map[shard.ServerID]bool, len(list))
	for i, p := range list {
		s, err := ServerFromProto(p)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		if string(s.App) != app {
			return nil, expected(fmt.Sprintf("%s[%d].app", field, i), "%q, not %q", app, s.App)
		}
		if seen[s.ID] {
			return nil, expected(fmt.Sprintf("%s[%d].id", field, i), "each server once, not %s again", s.ID)
		}
		seen[s.ID], servers[i] = true, s
	}
	return servers, nil
}

// spaceOfMap is the key space of a map, the names of its shards included.
func spaceOfMap(m *shard.Map, names []shard.ID) *pb.KeySpace {
	if m.Names == nil {
		return KeySpaceToProto(shard.KeySpace{Hash: m.Space})
	}
	named := &pb.NamedKeySpace{Ids: make([]string, len(names))}
	for i, id := range names {
		named.Ids[i] = string(id)
	}
	return &pb.KeySpace{Kind: &pb.KeySpace_Named{Named: named}}
}

func spaceFromMap(p *pb.KeySpace) (shard.HashSpace, []shard.ID, error) {
	named, ok := p.GetKind().(*pb.KeySpace_Named)
	if !ok {
		space, err := KeySpaceFromProto(p)
		return space.Hash, nil, err
	}
	ids := named.Named.GetIds()
	if len(ids) > shard.MaxShards {
		return shard.HashSpace{}, nil, expected("key_space.named.ids", "at most %d, not %d", shard.MaxShards, len(ids))
	}
	names, seen := make([]shard.ID, len(ids)), make(map[string]bool, len(ids))
	for i, id := range ids {
		if id != "" && seen[id] {
			return shard.HashSpace{}, nil, expected(fmt.Sprintf("key_space.named.ids[%d]", i), "each id once, not %q again", id)
		}
		seen[id], names[i] = true, shard.ID(id)
	}
	return shard.HashSpace{Shards: uint32(len(ids))}, names, nil
}

// KeySpaceToProto converts the key space of a spec.
func KeySpaceToProto(s shard.KeySpace) *pb.KeySpace {
	if s.Named {
		return &pb.KeySpace{Kind: &pb.KeySpace_Named{Named: &pb.NamedKeySpace{}}}
	}
	return &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: s.Hash.Shards}}}
}

// KeySpaceFromProto converts and checks the key space of a spec; `hash` and `named` are supported.
func KeySpaceFromProto(p *pb.KeySpace) (shard.KeySpace, error) {
	if named, ok := p.GetKind().(*pb.KeySpace_Named); ok {
		if n := len(named.Named.GetIds()); n > 0 {
			return shard.KeySpace{}, expected("key_space.named.ids", "none, not %d: shards are created one by one, once the app is there", n)
		}
		return shard.KeySpace{Named: true}, nil
	}
	hash := p.GetHash()
	if hash == nil {
		return shard.KeySpace{}, expected("key_space", "hash or named; other kinds are not supported yet")
	}
	if hash.Shards < 1 || hash.Shards > shard.MaxShards {
		return shard.KeySpace{}, expected("key_space.hash.shards", "1 to %d, not %d", shard.MaxShards, hash.Shards)
	}
	return shard.KeySpace{Hash: shard.HashSpace{Shards: hash.Shards}}, nil
}

// DeltaToProto converts a delta.
func DeltaToProto(d shard.Delta) *pb.ShardMapDelta {
	out := &pb.ShardMapDelta{App: string(d.App), Base: VersionToProto(d.Base), Version: VersionToProto(d.Version), PublishedMs: d.PublishedMS}
	for _, s := range d.Servers {
		out.Servers = append(out.Servers, ServerToProto(s))
	}
	for _, id := range d.Removed {
		out.RemovedServers = append(out.RemovedServers, string(id))
	}
	for _, e := range d.Shards {
		entry := &pb.ShardMapEntry{Index: uint32(e.Index), Primary: string(e.Primary), Term: uint64(e.Term)}
		for _, id := range e.Secondaries {
			entry.Secondaries = append(entry.Secondaries, string(id))
		}
		out.Shards = append(out.Shards, entry)
	}
	for _, n := range d.Names {
		out.Names = append(out.Names, &pb.NamedShard{Index: uint32(n.Index), Id: string(n.ID)})
	}
	return out
}

// DeltaFromProto converts and checks a delta. Whether it fits a map is for Map.Apply to say.
func DeltaFromProto(p *pb.ShardMapDelta) (shard.Delta, error) {
	if p.GetApp() == "" {
		return shard.Delta{}, expected("delta.app", "the name of an app")
	}
	d := shard.Delta{App: shard.App(p.App), Base: VersionFromProto(p.Base), Version: VersionFromProto(p.Version), PublishedMS: max(0, p.PublishedMs)}
	if d.Version.Compare(d.Base) <= 0 {
		return shard.Delta{}, expected("delta.version", "newer than the base %s, not %s", d.Base, d.Version)
	}
	servers, err := serversOf(p.App, "delta.servers", p.Servers)
	if err != nil {
		return shard.Delta{}, err
	}
	if len(servers) > 0 {
		d.Servers = servers
	}
	for i, id := range p.RemovedServers {
		if id == "" {
			return shard.Delta{}, expected(fmt.Sprintf("delta.removed_servers[%d]", i), "the id of a server")
		}
		d.Removed = append(d.Removed, shard.ServerID(id))
	}
	for i, e := range p.Shards {
		if e.GetIndex() >= shard.MaxShards {
			return shard.Delta{}, expected(fmt.Sprintf("delta.shards[%d].index", i), "below %d, not %d", shard.MaxShards, e.GetIndex())
		}
		if e.GetPrimary() != "" && e.GetTerm() == 0 {
			return shard.Delta{}, expected(fmt.Sprintf("delta.shards[%d].term", i), "the term of the primary, not 0")
		}
		if len(e.GetSecondaries()) > maxSecondaries {
			return shard.Delta{}, expected(fmt.Sprintf("delta.shards[%d].secondaries", i), "at most %d, not %d", maxSecondaries, len(e.GetSecondaries()))
		}
		entry := shard.Entry{Index: shard.Index(e.GetIndex()), Primary: shard.ServerID(e.GetPrimary()), Term: shard.Term(e.GetTerm())}
		for k, id := range e.GetSecondaries() {
			if id == "" {
				return shard.Delta{}, expected(fmt.Sprintf("delta.shards[%d].secondaries[%d]", i, k), "the id of a server")
			}
			entry.Secondaries = append(entry.Secondaries, shard.ServerID(id))
		}
		d.Shards = append(d.Shards, entry)
	}
	for i, n := range p.Names {
		if n.GetIndex() >= shard.MaxShards {
			return shard.Delta{}, expected(fmt.Sprintf("delta.names[%d].index", i), "below %d, not %d", shard.MaxShards, n.GetIndex())
		}
		d.Names = append(d.Names, shard.Named{Index: shard.Index(n.GetIndex()), ID: shard.ID(n.GetId())})
	}
	return d, nil
}
