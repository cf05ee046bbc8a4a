// Package app calls the local application: the methods of its ShardHostService that the roster asks for, and the ping of another
// server's application that a probe needs.
//
// The agent's loop starts each call on a goroutine of its own, within the bounds of the roster, and takes the answer as an event. The
// package decides nothing and keeps nothing but connections.
package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// AnswerGrace is what PrepareDropShard gets beyond its deadline: at the deadline the application itself cancels what runs, and says what
// came of it (R22).
const AnswerGrace = time.Second

// Client calls one application. It is safe for concurrent use.
type Client struct {
	app     shard.App
	options []connect.ClientOption

	mu       sync.Mutex
	address  string
	endpoint transport.Endpoint
	service  shardmanagerv1connect.ShardHostServiceClient
}

// New makes the client of an app's local process; nothing is dialled before the first call.
func New(app shard.App, options ...connect.ClientOption) *Client {
	return &Client{app: app, options: append(options, connect.WithAcceptCompression("gzip", nil, nil))}
}

// Traced gives the calls that are part of a trace spans, and the application their ids, as W3C's headers.
func Traced(provider trace.TracerProvider) ([]connect.ClientOption, error) {
	inTrace := func(ctx context.Context, _ connect.Spec) bool { return trace.SpanContextFromContext(ctx).IsValid() }
	interceptor, err := otelconnect.NewInterceptor(otelconnect.WithTracerProvider(provider), otelconnect.WithPropagator(propagation.TraceContext{}),
		otelconnect.WithFilter(inTrace), otelconnect.WithoutMetrics())
	return []connect.ClientOption{connect.WithInterceptors(interceptor)}, err
}

// Close lets go of connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoint.Close()
}

// at returns the service at an address, dialled anew only if the address changed.
func (c *Client) at(address string) (shardmanagerv1connect.ShardHostServiceClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.service != nil && c.address == address {
		return c.service, nil
	}
	endpoint, err := transport.Dial(address)
	if err != nil {
		return nil, err
	}
	c.endpoint.Close()
	c.address, c.endpoint = address, endpoint
	c.service = shardmanagerv1connect.NewShardHostServiceClient(endpoint.Client, endpoint.URL, c.options...)
	return c.service, nil
}

// Do makes one call and says what became of it.
func (c *Client) Do(ctx context.Context, call roster.Call) roster.CallDone {
	limit := call.Deadline
	if call.Kind == roster.CallPrepareDrop {
		limit += AnswerGrace
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := roster.CallDone{ID: call.ID, Outcome: roster.CallOK}
	service, err := c.at(call.Host)
	if err == nil {
		err = c.make(ctx, service, call, &done)
	}
	if err != nil {
		done.Outcome, done.Err = roster.CallFailed, err.Error()
		if detail, ok := wire.DetailOf(err); ok && detail.GetReason() == pb.ErrorReason_ERROR_REASON_STALE {
			done.Outcome = roster.CallStale
		}
	}
	return done
}

func (c *Client) make(ctx context.Context, s shardmanagerv1connect.ShardHostServiceClient, call roster.Call, done *roster.CallDone) error {
	command := &pb.ShardCommand{
		App: string(c.app), Shard: string(call.Shard), Term: uint64(call.Order.Term), Move: uint64(call.Order.Move),
		Incarnation: uint64(call.Incarnation),
	}
	switch call.Kind {
	case roster.CallActivate:
		_, err := s.Activate(ctx, &pb.ActivateRequest{Command: command, Members: wire.MembersToProto(call.Members)})
		return err
	case roster.CallAddShard:
		request := &pb.AddShardRequest{Command: command, Role: pb.Role(call.Role), Members: wire.MembersToProto(call.Members)}
		if call.Role == shard.Secondary {
			request.Primary = wire.PeerToProto(call.Peer)
		}
		_, err := s.AddShard(ctx, request)
		return err
	case roster.CallDropShard:
		_, err := s.DropShard(ctx, &pb.DropShardRequest{Command: command})
		return err
	case roster.CallPrepareAdd:
		_, err := s.PrepareAddShard(ctx, &pb.PrepareAddShardRequest{
			Command: command, From: wire.PeerToProto(call.Peer), Members: wire.MembersToProto(call.Members),
		})
		return err
	case roster.CallUpdateMembership:
		_, err := s.UpdateMembership(ctx, &pb.UpdateMembershipRequest{Command: command, Members: wire.MembersToProto(call.Members)})
		return err
	case roster.CallPrepareDrop:
		request := &pb.PrepareDropShardRequest{Command: command, To: wire.PeerToProto(call.Peer), DeadlineMs: call.Deadline.Milliseconds()}
		response, err := s.PrepareDropShard(ctx, request)
		if err == nil && response.GetBusy() {
			done.Outcome, done.Err = roster.CallBusy, "requests still ran at the deadline"
		}
		return err
	case roster.CallCancelMove:
		response, err := s.CancelMove(ctx, &pb.CancelMoveRequest{Command: command})
		done.Outcome = roster.CallNotBegun
		if response.GetBegun() {
			done.Outcome = roster.CallBegun
		}
		return err
	case roster.CallCollectLoad:
		response, err := s.CollectLoad(ctx, &pb.CollectLoadRequest{})
		for _, l := range response.GetLoads() {
			done.Loads = append(done.Loads, roster.ShardLoad{Shard: shard.ID(l.GetShard()), Load: l.GetLoad()})
		}
		return err
	case roster.CallEndIncarnation:
		_, err := s.EndIncarnation(ctx, &pb.EndIncarnationRequest{Incarnation: uint64(call.Incarnation), Reason: call.Reason})
		return err
	}
	return fmt.Errorf("call application: unknown kind %d", call.Kind)
}
