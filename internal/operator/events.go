package operator

import (
	"context"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Events reads events from the leader, and moves the request's position along. One that follows outlives leaders: it goes on from where it
// was until ctx ends, or each fails.
func (c *Client) Events(ctx context.Context, request *pb.WatchEventsRequest, each func(*pb.Event) error) error {
	patience := leaderWait
	if request.GetFollow() {
		patience = 0
	}
	pause := pauses(patience)
	take := func(r *pb.WatchEventsResponse) error {
		pause.Reset()
		for _, e := range r.GetEvents() {
			if err := each(e); err != nil {
				return backoff.Permanent(err)
			}
		}
		request.After = r.GetPosition()
		return nil
	}
	return backoff.Retry(func() error {
		err := c.leader(func(address string) error { return c.stream(ctx, address, request, take) })
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return backoff.Permanent(ctx.Err())
		case notLeader(err), request.GetFollow() && request.GetAfter() != nil: // it was read before, so it will be again
			return err
		}
		return backoff.Permanent(err)
	}, backoff.WithContext(pause, ctx))
}

// stream reads one stream to its end.
func (c *Client) stream(ctx context.Context, address string, request *pb.WatchEventsRequest, take func(*pb.WatchEventsResponse) error) error {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return c.failure(address, &AddressError{err})
	}
	defer endpoint.Close()
	stream, err := shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL).WatchEvents(ctx, request)
	if err != nil {
		return c.failure(address, err)
	}
	defer func() { _ = stream.Close() }() // what was read is all that matters
	for stream.Receive() {
		if err := take(stream.Msg()); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil && connect.CodeOf(err) != connect.CodeCanceled {
		return c.failure(address, err)
	}
	return nil
}
