package sdk

import (
	"context"
	"errors"
	"sync/atomic"

	"connectrpc.com/connect"
)

// Interceptor prepares the calls of a Connect client whose HTTP client uses the Router's Transport: keyOf finds a request's key (false, or
// a nil keyOf: the context's own, see WithKey), methods declared idempotent or without side effects may be repeated, and an error after
// retries says what was tried. Streams take their key from the context.
func (r *Router) Interceptor(keyOf func(connect.AnyRequest) (string, bool)) connect.Interceptor {
	return &routerInterceptor{keyOf: keyOf}
}

type routerInterceptor struct {
	keyOf func(connect.AnyRequest) (string, bool)
}

// finalError takes the Transport's error past the Connect client, which puts one of its own in its place when a deadline has passed.
type finalError struct{ err atomic.Pointer[Error] }

func (i *routerInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if !req.Spec().IsClient {
			return next(ctx, req)
		}
		if i.keyOf != nil {
			if key, ok := i.keyOf(req); ok {
				ctx = WithKey(ctx, key)
			}
		}
		given := new(finalError)
		response, err := next(context.WithValue(levelled(ctx, req.Spec()), contextFinal, given), req)
		if err == nil {
			return response, nil
		}
		if gaveUp := given.err.Load(); gaveUp != nil {
			code := connect.CodeUnavailable
			switch {
			case errors.Is(gaveUp, ErrNoShard):
				code = connect.CodeNotFound
			case errors.Is(gaveUp, context.Canceled):
				code = connect.CodeCanceled
			case errors.Is(gaveUp, context.DeadlineExceeded):
				code = connect.CodeDeadlineExceeded
			}
			return nil, connect.NewError(code, gaveUp)
		}
		return nil, err
	}
}

func (i *routerInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return next(levelled(ctx, spec), spec)
	}
}

func (i *routerInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func levelled(ctx context.Context, spec connect.Spec) context.Context {
	switch spec.IdempotencyLevel {
	case connect.IdempotencyNoSideEffects, connect.IdempotencyIdempotent:
		return WithIdempotent(ctx)
	case connect.IdempotencyUnknown:
	}
	return ctx
}
