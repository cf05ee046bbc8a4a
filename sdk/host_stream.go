package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transfer"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// The optional callbacks of package statestream, which has to import this one.
type (
	streamSource interface {
		StreamState(ctx context.Context, s Shard, to Peer, w io.Writer) error
		StateDelta(ctx context.Context, s Shard, to Peer) ([]byte, error)
		EndState(s Shard, to Peer)
	}
	streamSizer  interface{ StateSize(s Shard) int64 }
	streamTarget interface {
		ReceiveState(ctx context.Context, s Shard, from Peer, r io.Reader) error
	}
)

// errSuperseded ends a stream whose target was told of a newer decision about the shard.
var errSuperseded = errors.New("a newer decision about the shard has come")

// WithStateStreams bounds what this process sends as the source of streams of state (package statestream): so many at once, further ones
// wait, and so many bytes in a second over all of them, shared evenly; 0: unlimited. Default: 4 streams, unlimited.
func WithStateStreams(streams int, bytesPerSecond int64) HostOption {
	return func(o *hostOptions) error {
		if streams < 1 || bytesPerSecond < 0 {
			return fmt.Errorf("state streams %d, %d bytes a second: expected at least 1 stream and a rate >= 0", streams, bytesPerSecond)
		}
		o.valve = transfer.NewValve(streams, bytesPerSecond)
		return nil
	}
}

// WithStateLimits bounds what streams of state may take: stall is the longest time in which nothing moves, at either end; bytes the
// most that this process receives in one. A stream beyond them fails, and with it the attempt to move the shard. Default: 10 s, 16 GiB.
func WithStateLimits(stall time.Duration, bytes int64) HostOption {
	return func(o *hostOptions) error {
		if stall < 2*time.Second || bytes < 1 {
			return fmt.Errorf("state limits %s, %d bytes: expected at least 2s and 1 byte", stall, bytes)
		}
		o.stateLimits = transfer.Limits{Stall: stall, Bytes: bytes}
		return nil
	}
}

// pulling is a stream on its way to this server.
type pulling struct {
	order  shard.Order
	cancel context.CancelCauseFunc
}

// supersede ends a stream under an older order than o: what came is of no use, and commands wait for it.
func (r *replica) supersede(o shard.Order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pulling != nil && o.Compare(r.pulling.order) > 0 {
		r.pulling.cancel(errSuperseded)
	}
}

// pullState brings a snapshot of the shard from its primary to this server, which prepares to hold it under o, if both applications can.
func (h *Host) pullState(ctx context.Context, r *replica, o shard.Order, from shard.Peer) error {
	r.received = 0
	target, ok := h.handler.(streamTarget)
	if !ok || from.DataAddress == "" {
		return nil
	}
	ctx, cancel := r.life.within(ctx)
	defer cancel(context.Canceled)
	r.update(func() { r.pulling = &pulling{o, cancel} })
	defer r.update(func() { r.pulling = nil })
	name := transfer.Name{App: h.app, Shard: r.id, Order: o, Source: from, Target: r.life.peer()}
	s := h.shardAt(r, o.Term, RolePrimary)
	return h.traced(ctx, "pull state", s, func(ctx context.Context) (err error) {
		r.received, err = h.inbox.Pull(ctx, telling{h.peers}, name, h.options.stateLimits, func(ctx context.Context, content io.Reader) error {
			r.touched = true
			return h.call(ctx, r.life, "ReceiveState", s, func(ctx context.Context) error {
				return target.ReceiveState(ctx, s, publicPeer(from), content)
			})
		})
		return err
	})
}

// mayStream says whether this server may send the shard's state to a server that prepares it under o: it is primary, under its lease,
// and o was decided at its term or later, and not refused here.
func (h *Host) mayStream(r *replica, o shard.Order) error {
	known := r.snapshot()
	switch {
	case r.life.over():
		return errLifeOver
	case known.Phase != shard.Serving:
		return stale("shard "+r.id, "a shard that this server is primary of; it is in phase "+known.Phase.String())
	case o.Term < known.Term || o.Term > known.Term && o.Compare(known.Max) <= 0:
		return stale("shard "+r.id, fmt.Sprintf("an order above %s, not %s", known.Max, o))
	case !r.life.allows(h.now()):
		return wire.Error(connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_NOT_EXECUTED, "shard "+r.id, "a lease, which this server has not now", "")
	}
	return nil
}

// StreamState is the source's half: the application's snapshot goes out while the shard is served on.
func (s *service) StreamState(ctx context.Context, req *pb.StreamStateRequest, out *connect.ServerStream[pb.StreamStateResponse]) error {
	h := s.host
	source, ok := h.handler.(streamSource)
	if !ok {
		return unsupported("StreamState", "an application with the callbacks of statestream.Source")
	}
	o, err := h.orderOf(req.GetCommand())
	if err != nil {
		return err
	}
	name, ok := transfer.NameFromProto(req)
	if !ok {
		return invalid("to, attempt", "the server that asks, its incarnation, and a number from 1")
	}
	l, err := h.lifeOf(ctx, name.Source.Incarnation)
	if err != nil {
		return typed(err)
	}
	r := l.find(name.Shard)
	if r == nil {
		return stale("shard "+name.Shard, "a shard that this server is primary of")
	}
	if err := h.mayStream(r, o); err != nil {
		return typed(err)
	}
	at, to := h.shardAt(r, r.snapshot().Term, RolePrimary), publicPeer(name.Target)
	return typed(transfer.Serve(ctx, name, transfer.Source{
		Life: l.ctx, Valve: h.options.valve, Outbox: &r.outbox, Stall: h.options.stateLimits.Stall,
		Allowed: func() error { return h.mayStream(r, o) },
		Size: func() int64 {
			if sizer, ok := h.handler.(streamSizer); ok {
				return sizer.StateSize(at)
			}
			return 0
		},
		Write: func(ctx context.Context, w io.Writer) error {
			return h.call(ctx, l, "StreamState", at, func(ctx context.Context) error { return source.StreamState(ctx, at, to, w) })
		},
		End: func() {
			_ = h.call(context.Background(), nil, "EndState", at, func(context.Context) error {
				source.EndState(at, to)
				return nil
			})
		},
	}, out.Send))
}
