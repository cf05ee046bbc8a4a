package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// WatchEvents implements AdminServiceHandler. It holds one message at most; a reader that is slower than the log finds a gap.
func (a *Admin) WatchEvents(ctx context.Context, req *pb.WatchEventsRequest, stream *connect.ServerStream[pb.WatchEventsResponse]) error {
	leader := a.node.Leader()
	if leader == nil {
		return a.notLeader()
	}
	filter, err := feed.FilterOf(req.GetApp(), req.GetKinds())
	if err != nil {
		return invalid(err)
	}
	leave, err := a.events.Enter()
	if err != nil {
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	defer leave()
	send := func(list []events.Event, at events.Position) error {
		response := &pb.WatchEventsResponse{Position: feed.PositionToProto(at)}
		for _, e := range list {
			if filter.Wants(e) {
				response.Events = append(response.Events, feed.ToProto(e))
			}
		}
		return stream.Send(response)
	}
	err = a.events.Follow(ctx, leader.Ended(), feed.PositionFromProto(req.GetAfter()), req.GetFollow(), send)
	if errors.Is(err, feed.ErrEnded) {
		return a.notLeader()
	}
	return err
}
