package sdk

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardmanager/shardmanager/internal/holding"
	"github.com/shardmanager/shardmanager/internal/hop"
)

// Interceptor is Middleware for Connect handlers, for applications that cannot wrap their mux. Unary calls are guarded, held and
// forwarded in the same way. Streams are guarded: the token is held for as long as the stream lasts, the lease is checked before
// every message sent, and during a hand-over new streams are refused as not executed.
//
// A call that already went through Middleware, or through an outer Interceptor, passes.
func (h *Host) Interceptor() connect.Interceptor { return &interceptor{host: h} }

type interceptor struct{ host *Host }

// WrapStreamingClient changes nothing: the interceptor is for handlers.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapUnary guards, holds and forwards.
func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, call connect.AnyRequest) (connect.AnyResponse, error) {
		if _, guarded := ShardFromContext(ctx); guarded || call.Spec().IsClient {
			return next(ctx, call)
		}
		q, problem := requestOf(call.Header())
		if problem != "" {
			return nil, connect.NewError(connect.CodeInvalidArgument, errors.New(problem))
		}
		c := &unaryCall{host: i.host, next: next, call: call, request: q}
		i.host.carry(ctx, q, c)
		return c.response, c.err
	}
}

// WrapStreamingHandler guards.
func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if _, guarded := ShardFromContext(ctx); guarded {
			return next(ctx, conn)
		}
		q, problem := requestOf(conn.RequestHeader())
		if problem != "" {
			return connect.NewError(connect.CodeInvalidArgument, errors.New(problem))
		}
		ctx, token := i.host.newToken(ctx, q.shard)
		seen := i.host.look(q, token)
		if seen.view != viewRun {
			token.cancel(context.Canceled)
			if seen.err == nil {
				seen.err = &Error{Outcome: NotExecuted, Shard: q.shard, Hint: seen.target.peer.DataAddress, Reason: "the shard is being handed over"}
			}
			return refusal(seen.err)
		}
		defer token.abandon()
		err := next(ctx, &checkedConn{StreamingHandlerConn: conn, token: token})
		if lost := token.End(); lost != nil {
			return refusal(token.lost())
		}
		return err
	}
}

// checkedConn checks the lease before every message that leaves.
type checkedConn struct {
	connect.StreamingHandlerConn
	token *Token
	sent  bool
}

func (c *checkedConn) Send(message any) error {
	if c.token.check() != nil {
		return refusal(c.token.lost())
	}
	if !c.sent {
		c.sent = true
		c.token.stamp(c.ResponseHeader())
	}
	return c.StreamingHandlerConn.Send(message)
}

// unaryCall carries one unary call.
type unaryCall struct {
	host     *Host
	next     connect.UnaryFunc
	call     connect.AnyRequest
	request  request
	response connect.AnyResponse
	err      error
}

// park accounts for the message, which is in memory already.
func (c *unaryCall) park(held *holding.Ticket) *Error {
	if message, ok := c.call.Any().(proto.Message); ok && !held.Grow(int64(proto.Size(message))) {
		return &Error{Outcome: NotExecuted, Shard: c.request.shard, Reason: "the request cannot be held", Err: holding.ErrBytes}
	}
	return nil
}

func (c *unaryCall) run(ctx context.Context, token *Token) {
	defer token.abandon()
	c.response, c.err = c.next(ctx, c.call)
	if lost := token.End(); lost != nil {
		c.response, c.err = nil, refusal(token.lost())
		return
	}
	if failed, ok := errors.AsType[*connect.Error](c.err); ok {
		token.stamp(failed.Meta())
	} else if c.response != nil {
		token.stamp(c.response.Header())
	}
}

func (c *unaryCall) refuse(err *Error) { c.response, c.err = nil, refusal(err) }

// forward makes the same call to the target, with messages that are known by their descriptors only.
func (c *unaryCall) forward(ctx context.Context, to target) (again bool) {
	method, known := c.call.Spec().Schema.(protoreflect.MethodDescriptor)
	message, isProto := c.call.Any().(proto.Message)
	if !known || !isProto {
		c.refuse(&Error{
			Outcome: NotExecuted, Shard: c.request.shard, Hint: to.peer.DataAddress,
			Reason: "the shard has moved, and a call without a protobuf schema cannot be forwarded",
		})
		return false
	}
	sent := &hop.Sent{}
	forwarded := http.Header{HeaderForward: {forwardHeader(to.order)}}
	watched, stop := sent.Until(sent.Trace(ctx, http.MethodPost, c.call.Header()), to.until)
	defer stop()
	response, err := hop.CallUnary(watched, c.host.peers, to.peer.DataAddress, method, c.call, message, forwarded)
	if err == nil {
		c.response = response
		return false
	}
	outcome, said := OutcomeOf(err)
	switch {
	case said && outcome == NotExecuted:
		return true
	case connect.IsWireError(err), said:
		c.err = err
	case !sent.Begun() && ctx.Err() == nil:
		return true
	case !sent.Begun():
		c.refuse(&Error{Outcome: NotExecuted, Shard: c.request.shard, Hint: to.peer.DataAddress, Reason: "the new owner was not reached", Err: err})
	default:
		c.refuse(&Error{
			Outcome: Unknown, Shard: c.request.shard, Hint: to.peer.DataAddress,
			Reason: "the connection to the new owner broke after the request was sent", Err: err,
		})
	}
	return false
}
