package wire

import (
	"fmt"
	"maps"
	"net"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FieldError says which field of a message is wrong and what was expected.
type FieldError struct {
	Field    string // dotted path, as in the .proto file
	Expected string
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": expected " + e.Expected }

func expected(field, format string, args ...any) error {
	return &FieldError{Field: field, Expected: fmt.Sprintf(format, args...)}
}

// EpochToProto converts an epoch; the zero epoch becomes nil.
func EpochToProto(e shard.Epoch) *pb.Epoch {
	if e == (shard.Epoch{}) {
		return nil
	}
	return &pb.Epoch{Generation: e.Generation, Index: e.Index}
}

// EpochFromProto converts an epoch; nil becomes the zero epoch, which is older than every other.
func EpochFromProto(e *pb.Epoch) shard.Epoch {
	return shard.Epoch{Generation: e.GetGeneration(), Index: e.GetIndex()}
}

// VersionToProto converts a map version; the zero version becomes nil.
func VersionToProto(v shard.Version) *pb.MapVersion {
	if v == (shard.Version{}) {
		return nil
	}
	return &pb.MapVersion{Epoch: EpochToProto(v.Epoch), Counter: v.Counter}
}

// VersionFromProto converts a map version; nil becomes the zero version.
func VersionFromProto(v *pb.MapVersion) shard.Version {
	return shard.Version{Epoch: EpochFromProto(v.GetEpoch()), Counter: v.GetCounter()}
}

// LocalityToProto converts a locality; an unknown one becomes nil.
func LocalityToProto(l shard.Locality) *pb.Locality {
	if l == (shard.Locality{}) {
		return nil
	}
	return &pb.Locality{Region: l.Region, Zone: l.Zone, Rack: l.Rack, Host: l.Host}
}

// LocalityFromProto converts a locality; nil becomes an unknown one.
func LocalityFromProto(l *pb.Locality) shard.Locality {
	return shard.Locality{Region: l.GetRegion(), Zone: l.GetZone(), Rack: l.GetRack(), Host: l.GetHost()}
}

// PeerToProto converts a peer; no peer becomes nil.
func PeerToProto(p shard.Peer) *pb.Peer {
	if p == (shard.Peer{}) {
		return nil
	}
	return &pb.Peer{Server: string(p.Server), Incarnation: uint64(p.Incarnation), DataAddress: p.DataAddress}
}

// PeerFromProto converts a peer; nil becomes no peer.
func PeerFromProto(p *pb.Peer) shard.Peer {
	return shard.Peer{
		Server: shard.ServerID(p.GetServer()), Incarnation: shard.Incarnation(p.GetIncarnation()), DataAddress: p.GetDataAddress(),
	}
}

// MembersToProto converts the secondaries of a shard.
func MembersToProto(members []shard.Member) []*pb.Member {
	var list []*pb.Member
	for _, m := range members {
		list = append(list, &pb.Member{Peer: PeerToProto(m.Peer), InSync: m.InSync})
	}
	return list
}

// MembersFromProto converts the secondaries of a shard.
func MembersFromProto(list []*pb.Member) []shard.Member {
	var members []shard.Member
	for _, m := range list {
		members = append(members, shard.Member{Peer: PeerFromProto(m.GetPeer()), InSync: m.GetInSync()})
	}
	return members
}

// ServerToProto converts a server.
func ServerToProto(s shard.Server) *pb.Server {
	return &pb.Server{
		Id: string(s.ID), App: string(s.App), Agent: s.Agent, Incarnation: uint64(s.Incarnation), Locality: LocalityToProto(s.Locality),
		DataAddress: s.DataAddress, AgentAddress: s.AgentAddress, Version: s.Version,
		Capacity: cloned(s.Capacity), Labels: cloned(s.Labels),
	}
}

// ServerFromProto converts and checks a server: its id must be `<agent>.<app>`, addresses that are there must be host:port, and
// capacities must not be negative.
func ServerFromProto(s *pb.Server) (shard.Server, error) {
	if s == nil {
		return shard.Server{}, expected("server", "a server")
	}
	app := shard.App(s.App)
	switch {
	case s.App == "":
		return shard.Server{}, expected("server.app", "the name of an app")
	case s.Agent == "":
		return shard.Server{}, expected("server.agent", "the name of an agent")
	case shard.ServerID(s.Id) != shard.MakeServerID(s.Agent, app):
		return shard.Server{}, expected("server.id", "%q, that is <agent>.<app>, not %q", shard.MakeServerID(s.Agent, app), s.Id)
	}
	if err := checkAddress("server.data_address", s.DataAddress); err != nil {
		return shard.Server{}, err
	}
	if err := checkAddress("server.agent_address", s.AgentAddress); err != nil {
		return shard.Server{}, err
	}
	for _, metric := range shard.SortedKeys(s.Capacity) {
		if s.Capacity[metric] < 0 {
			return shard.Server{}, expected("server.capacity."+metric, "0 or more, not %d", s.Capacity[metric])
		}
	}
	return shard.Server{
		ID: shard.ServerID(s.Id), App: app, Agent: s.Agent, Incarnation: shard.Incarnation(s.Incarnation),
		Locality: LocalityFromProto(s.Locality), DataAddress: s.DataAddress, AgentAddress: s.AgentAddress, Version: s.Version,
		Capacity: cloned(s.Capacity), Labels: cloned(s.Labels),
	}, nil
}

func checkAddress(field, address string) error {
	if address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return expected(field, "host:port, not %q", address)
	}
	return nil
}

// cloned copies a map that the receiver may not share; none and an empty one are the same.
func cloned[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// HeldToProto converts a held or remembered shard.
func HeldToProto(h shard.Held) *pb.HeldShard {
	return &pb.HeldShard{
		Shard: string(h.Shard), Phase: pb.ShardPhase(h.Phase), Term: uint64(h.Term), MaxTerm: uint64(h.Max.Term), MaxMove: uint64(h.Max.Move),
		Peer: PeerToProto(h.Peer), Activated: h.Activated,
	}
}

// HeldFromProto converts and checks a held shard. One that is held has a term, and that is not above the highest it has seen.
func HeldFromProto(h *pb.HeldShard) (shard.Held, error) {
	if h == nil || h.Shard == "" {
		return shard.Held{}, expected("held.shard", "the id of a shard")
	}
	field := "held." + h.Shard
	switch h.Phase {
	case pb.ShardPhase_SHARD_PHASE_NONE:
		if h.Term != 0 {
			return shard.Held{}, expected(field+".term", "0 in phase NONE, not %d", h.Term)
		}
	case pb.ShardPhase_SHARD_PHASE_PREPARED, pb.ShardPhase_SHARD_PHASE_PRIMARY, pb.ShardPhase_SHARD_PHASE_FORWARDING,
		pb.ShardPhase_SHARD_PHASE_SECONDARY:
		if h.Term == 0 {
			return shard.Held{}, expected(field+".term", "a term in phase %s", h.Phase)
		}
	default:
		return shard.Held{}, expected(field+".phase", "NONE, PREPARED, PRIMARY, FORWARDING or SECONDARY, not %d", h.Phase)
	}
	if h.Term > h.MaxTerm {
		return shard.Held{}, expected(field+".max_term", "at least the term %d, not %d", h.Term, h.MaxTerm)
	}
	return shard.Held{
		Shard: shard.ID(h.Shard), Phase: shard.Phase(h.Phase), Term: shard.Term(h.Term),
		Max:  shard.Order{Term: shard.Term(h.MaxTerm), Move: shard.MoveID(h.MaxMove)},
		Peer: PeerFromProto(h.Peer), Activated: h.Activated,
	}, nil
}
