package feed

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// ToProto converts an event.
func ToProto(e events.Event) *pb.Event {
	out := &pb.Event{Position: PositionToProto(e.Position), TimeMs: e.At.UnixMilli()}
	switch b := e.Body.(type) {
	case events.Decided:
		d := b.Decision
		out.Body = &pb.Event_Decision{Decision: &pb.DecisionEvent{
			What: d.What, App: string(d.App), Shard: string(d.Shard), Server: string(d.Server), Incarnation: uint64(d.Incarnation),
			Term: uint64(d.Order.Term), Move: uint64(d.Order.Move), Why: d.Why,
		}}
	case events.ServerChanged:
		s := b.Status
		out.Body = &pb.Event_Server{Server: &pb.ServerEvent{
			Server: string(s.Server.ID), Incarnation: uint64(s.Server.Incarnation), App: string(s.Server.App), State: pb.ServerState(s.State),
			Draining: s.Draining, Reason: s.Reason,
		}}
	case events.LeaderChanged:
		out.Body = &pb.Event_Leader{Leader: &pb.LeaderEvent{Allocator: b.Allocator, Leads: b.Leads, Why: b.Why}}
	case events.Gap:
		out.Body = &pb.Event_Gap{Gap: &pb.GapEvent{Missed: b.Missed, Why: b.Why}}
	}
	return out
}

// PositionToProto converts a position.
func PositionToProto(p events.Position) *pb.EventPosition {
	return &pb.EventPosition{Epoch: wire.EpochToProto(p.Epoch), Sequence: p.Sequence}
}

// PositionFromProto converts a position; nil is the zero Position.
func PositionFromProto(p *pb.EventPosition) events.Position {
	return events.Position{Epoch: wire.EpochFromProto(p.GetEpoch()), Sequence: p.GetSequence()}
}

// Written is a position as text: the epoch's generation and index, and the sequence, `0.17.42`.
func Written(p events.Position) string {
	return p.Epoch.String() + "." + strconv.FormatUint(p.Sequence, 10)
}

// ParsePosition reads what Written wrote. The error says what was expected.
func ParsePosition(text string) (events.Position, error) {
	var numbers [3]uint64
	parts := strings.Split(text, ".")
	ok := len(parts) == len(numbers)
	for i := 0; ok && i < len(numbers); i++ {
		var err error
		numbers[i], err = strconv.ParseUint(parts[i], 10, 64)
		ok = err == nil
	}
	if !ok {
		return events.Position{}, fmt.Errorf("expected the id of an event, such as 0.17.42, not %q", shortened(text))
	}
	return events.Position{Epoch: shard.Epoch{Generation: numbers[0], Index: numbers[1]}, Sequence: numbers[2]}, nil
}

// shortened is text of any length, fit for an error.
func shortened(text string) string {
	const most = 40
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
