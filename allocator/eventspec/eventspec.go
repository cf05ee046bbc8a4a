// Package eventspec turns planned events between their messages and the allocator's form. It checks the shape only: which values are allowed is for
// package event to say. It is called by allocator/api and allocator/storage and keeps no state.
package eventspec

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// RequestFromProto converts a request.
func RequestFromProto(p *pb.MaintenanceRequest) event.Request {
	s := p.GetScope()
	return event.Request{
		ID: p.GetId(), Kind: event.Kind(small(int32(p.GetKind()))), Impact: event.Impact(small(int32(p.GetImpact()))),
		Scope:     event.Scope{Servers: servers(s.GetServers()), Hosts: s.GetHosts(), Racks: s.GetRacks(), Zones: s.GetZones(), Regions: s.GetRegions()},
		Announced: p.GetAnnounced(), Start: moment(p.GetStartMs()), Deadline: moment(p.GetDeadlineMs()), Duration: duration(p.GetDurationMs()),
		Reason: p.GetReason(), Requester: p.GetRequester(),
	}
}

// FromProto converts an event.
func FromProto(p *pb.MaintenanceEvent) event.Event {
	e := event.Event{Request: RequestFromProto(p.GetRequest()), Turn: p.GetTurn(), Waived: p.GetWaived()}
	for _, piece := range p.GetPieces() {
		q := event.Piece{State: event.State(small(int32(piece.GetState()))), Left: duration(piece.GetLeftMs()), Why: piece.GetDetail(), Never: piece.GetNever()}
		for _, c := range piece.GetCovers() {
			q.Covers = append(q.Covers, event.Covered{Server: shard.ServerID(c.GetServer()), Incarnation: shard.Incarnation(c.GetIncarnation())})
		}
		e.Pieces = append(e.Pieces, q)
	}
	return e
}

// ToProto converts an event back.
func ToProto(e *event.Event) *pb.MaintenanceEvent {
	p := &pb.MaintenanceEvent{Turn: e.Turn, Waived: e.Waived, Request: &pb.MaintenanceRequest{
		Id: e.ID, Kind: pb.MaintenanceKind(e.Kind), Impact: pb.MaintenanceImpact(e.Impact), Announced: e.Announced,
		Scope:   &pb.MaintenanceScope{Servers: texts(e.Scope.Servers), Hosts: e.Scope.Hosts, Racks: e.Scope.Racks, Zones: e.Scope.Zones, Regions: e.Scope.Regions},
		StartMs: millis(e.Start), DeadlineMs: millis(e.Deadline), DurationMs: e.Duration.Milliseconds(), Reason: e.Reason, Requester: e.Requester,
	}}
	for i := range e.Pieces {
		q := &e.Pieces[i]
		piece := &pb.MaintenancePiece{State: pb.MaintenancePieceState(q.State), LeftMs: q.Left.Milliseconds(), Detail: q.Why, Never: q.Never}
		for _, c := range q.Covers {
			piece.Covers = append(piece.Covers, &pb.MaintenancePiece_Covered{Server: string(c.Server), Incarnation: uint64(c.Incarnation)})
		}
		p.Pieces = append(p.Pieces, piece)
	}
	return p
}

// small is an enumeration's number; 0, which is none, where it is not one of a few.
func small(n int32) uint8 {
	if n < 0 || n > 100 {
		return 0
	}
	return uint8(n)
}

// moment is the zero time where nothing is said.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// duration keeps what is out of range out of range.
func duration(ms int64) time.Duration {
	const most = int64(1 << 40)
	return time.Duration(min(max(ms, -1), most)) * time.Millisecond
}

func servers(list []string) []shard.ServerID {
	ids := make([]shard.ServerID, len(list))
	for i, id := range list {
		ids[i] = shard.ServerID(id)
	}
	return ids
}

func texts(list []shard.ServerID) []string {
	ids := make([]string, len(list))
	for i, id := range list {
		ids[i] = string(id)
	}
	return ids
}
