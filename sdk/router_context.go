package sdk

import "context"

type contextKey int

const (
	contextRoutingKey contextKey = iota + 1
	contextRequestID
	contextIdempotent
	contextFinal
	contextNearest
)

// WithKey says which key the requests made with the context are about: the Router's Transport sends them to the key's server.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, contextRoutingKey, key)
}

func keyFrom(ctx context.Context) (string, bool) {
	key, ok := ctx.Value(contextRoutingKey).(string)
	return key, ok
}

// WithRequestID names the request, in HeaderRequestID, for an application that recognises a repetition by that id: the Router then
// repeats the request although it may have been executed. An empty id changes nothing.
func WithRequestID(ctx context.Context, id string) context.Context {
	if id == "" {
		return ctx
	}
	return context.WithValue(ctx, contextRequestID, id)
}

func requestIDFrom(ctx context.Context) string {
	id, _ := ctx.Value(contextRequestID).(string)
	return id
}

// WithIdempotent says that executing the requests made with the context twice does no harm: the Router then repeats them although they
// may have been executed. Methods GET and HEAD need no such word.
func WithIdempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextIdempotent, true)
}

// repeatable reports whether the context allows a request whose outcome is unknown to be sent again (PROTOCOL R20).
func repeatable(ctx context.Context) bool {
	idempotent, _ := ctx.Value(contextIdempotent).(bool)
	return idempotent || requestIDFrom(ctx) != ""
}
