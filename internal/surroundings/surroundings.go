// Package surroundings replaces what lies around a process in tests: the network that it dials, and the two clocks that it reads. They travel in
// the context that a public Run is given, so that no public API shows them and nothing global holds them.
//
// In production nobody calls With; then the real network and the real clocks are used. Called by sdk/sdktest/virtual (With), and by
// internal/transport and sdk (the rest).
package surroundings

import (
	"context"
	"net"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Surroundings of one process.
type Surroundings struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() shard.Instant
}

type key struct{}

// With returns a context in which whatever is dialled, and whatever runs, finds s around it.
func With(ctx context.Context, s Surroundings) context.Context {
	return context.WithValue(ctx, key{}, s)
}

// Of tells what With was given; false: nothing, the world is real.
func Of(ctx context.Context) (Surroundings, bool) {
	s, ok := ctx.Value(key{}).(Surroundings)
	return s, ok
}

// Dialer is dial, except in contexts that have another one.
func Dialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if s, ok := Of(ctx); ok {
			return s.Dial(ctx, network, address)
		}
		return dial(ctx, network, address)
	}
}
