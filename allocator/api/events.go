package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// maxWatchers is how many operators may follow events at once; one more is refused.
	maxWatchers = 64
	// maxBatch is how many events are sent in one message.
	maxBatch = 256
	// aliveEvery is how often a stream without news says that it lives.
	aliveEvery = 10 * time.Second
)

var errManyWatchers = connect.NewError(connect.CodeResourceExhausted, errors.New("events: too many readers follow already: ask again later"))

// WatchEvents implements AdminServiceHandler. It holds one message at most; a reader that is slower than the log finds a gap.
func (a *Admin) WatchEvents(ctx context.Context, req *pb.WatchEventsRequest, stream *connect.ServerStream[pb.WatchEventsResponse]) error {
	leader := a.node.Leader()
	if leader == nil {
		return a.notLeader()
	}
	select {
	case a.watchers <- struct{}{}:
		defer func() { <-a.watchers }()
	default:
		return errManyWatchers
	}
	at := events.Position{Epoch: wire.EpochFromProto(req.GetAfter().GetEpoch()), Sequence: req.GetAfter().GetSequence()}
	app := shard.App(req.GetApp())
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for quiet := false; ; {
		list, more := a.events.Read(at, maxBatch)
		if len(list) > 0 {
			at = list[len(list)-1].Position
		}
		if !quiet || len(list) > 0 {
			if err := stream.Send(&pb.WatchEventsResponse{Events: eventsToProto(list, app), Position: positionToProto(at)}); err != nil {
				return err
			}
		}
		if quiet = true; len(list) > 0 {
			continue
		}
		if !req.GetFollow() {
			return nil
		}
		select {
		case <-more:
		case <-alive.C:
			quiet = false
		case <-leader.Ended():
			if rest, _ := a.events.Read(at, 1); len(rest) == 0 {
				return a.notLeader()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eventsToProto converts what is of an app or of the cluster; of all apps if it is empty.
func eventsToProto(list []events.Event, app shard.App) []*pb.Event {
	var out []*pb.Event
	for _, e := range list {
		if of := e.App(); app == "" || of == "" || of == app {
			out = append(out, eventToProto(e))
		}
	}
	return out
}

func eventToProto(e events.Event) *pb.Event {
	out := &pb.Event{Position: positionToProto(e.Position), TimeMs: e.At.UnixMilli()}
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
