package sdk

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/surroundings"
	"github.com/shardmanager/shardmanager/internal/transfer"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// transferTimeout bounds one attempt to hand the last state over, the target's Activate included.
const transferTimeout = time.Minute

// newPeerTransport is the pool of connections to the targets of moves. HTTP/1.1, because the peer is the application's own server and
// every such server speaks it.
func newPeerTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: time.Second}
	return &http.Transport{
		DialContext: surroundings.Dialer(dialer.DialContext), DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64,
		MaxConnsPerHost: 256, IdleConnTimeout: 30 * time.Second,
	}
}

// prepareDrop hands the shard over to the target of a move: new requests wait, running ones finish, the last state and the marker go to
// the target, then everything is forwarded. When it returns nil, nothing executes here any more. errStillRunning means busy: the
// shard is served on. Any other error after the last operation ended leaves requests waiting for the next attempt (docs/architecture.md
// §6).
func (h *Host) prepareDrop(ctx context.Context, r *replica, o shard.Order, to shard.Peer, patience time.Duration) error {
	if r.snapshot().Phase == shard.Serving {
		if _, err := r.outbox.Base(to, o); err != nil { // not begun: the move can still be called off
			return fmt.Errorf("hand over shard %s: %w", r.id, err)
		}
		keep := func(target shard.Peer, under shard.Order) bool {
			return target.Incarnation == to.Incarnation && under == o
		}
		if err := r.outbox.Drop(ctx, keep); err != nil {
			return fmt.Errorf("hand over shard %s: %w", r.id, err)
		}
		before := r.setGate(gateHold)
		err := r.quiesce(ctx, patience)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			r.setGate(before)
			return fmt.Errorf("hand over shard %s: %w", r.id, err)
		}
		r.update(func() { r.record.Enter(shard.Forwarding, o) })
	}
	r.update(func() { r.peer = to })
	if err := r.lane.Close(ctx); err != nil {
		return fmt.Errorf("hand over shard %s: UpdateMembership has not returned: %w", r.id, err)
	}
	h.released(r)
	if err := h.handOver(ctx, r, o, to); err != nil {
		return err
	}
	r.update(func() {
		r.record.Handed, r.gate = true, gateForward
		r.lastState, r.asked = nil, false
	})
	return r.outbox.Drop(ctx, nil)
}

// handOver asks the application for its last state, once, and sends it. A target that was streamed a snapshot gets the delta to it.
func (h *Host) handOver(ctx context.Context, r *replica, o shard.Order, to shard.Peer) error {
	if source, ok := h.handler.(StateSource); ok && !r.asked {
		base, err := r.outbox.Base(to, o)
		if err != nil {
			return err
		}
		s := h.shardAt(r, r.snapshot().Term, RolePrimary)
		name, ask := "LastState", source.LastState
		r.base = 0
		if base != nil {
			name, r.base = "StateDelta", base.Attempt()
			ask = func(ctx context.Context, s Shard) ([]byte, error) {
				return h.handler.(streamSource).StateDelta(ctx, s, publicPeer(to))
			}
		}
		err = h.call(ctx, r.life, name, s, func(ctx context.Context) error {
			state, err := ask(ctx, s)
			if err == nil && len(state) > transfer.MaxLast {
				err = fmt.Errorf("%d bytes: expected at most %d", len(state), transfer.MaxLast)
			}
			r.lastState = state
			return err
		})
		if err != nil {
			return err
		}
	}
	r.asked = true
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	defer context.AfterFunc(r.life.ctx, cancel)()
	name := transfer.Name{App: h.app, Shard: r.id, Order: o, Source: r.life.peer(), Target: to, Attempt: r.base}
	err := h.traced(ctx, "hand over state", h.shardAt(r, r.snapshot().Term, RolePrimary), func(ctx context.Context) error {
		return transfer.SendLast(ctx, telling{h.peers}, name, r.lastState)
	})
	if err != nil {
		return fmt.Errorf("hand over shard %s to %s at %s: %w", r.id, to.Server, to.DataAddress, err)
	}
	return nil
}

// TransferState is the target's half: it takes the state and the marker, then activates the application.
func (s *service) TransferState(
	ctx context.Context, stream *connect.ClientStream[pb.TransferStateRequest],
) (*pb.TransferStateResponse, error) {
	h := s.host
	first, state, err := transfer.ReceiveLast(stream)
	if err != nil {
		return nil, typed(err)
	}
	if _, ok := h.handler.(Activator); !ok && len(state) > 0 {
		return nil, invalid("state", "no state: this version of the application has no Activate to take it")
	}
	err = h.command(ctx, record.Transfer, first.GetCommand(), func(r *replica, o shard.Order) error {
		r.mu.Lock()
		source := r.peer
		r.mu.Unlock()
		if string(source.Server) != first.GetFrom() || uint64(source.Incarnation) != first.GetFromIncarnation() {
			return stale("from", "the source of the move, "+string(source.Server)+" "+source.Incarnation.String())
		}
		if first.GetBaseAttempt() != r.received {
			return stale("base_attempt", fmt.Sprintf("a delta to what was received, attempt %d, not %d", r.received, first.GetBaseAttempt()))
		}
		if r.received != 0 && state == nil {
			state = []byte{} // an empty delta was handed over
		}
		return h.activate(ctx, r, o, state, r.members)
	})
	if err != nil {
		return nil, typed(err)
	}
	return &pb.TransferStateResponse{}, nil
}

var _ shardmanagerv1connect.ShardHostServiceHandler = (*service)(nil)

// forwardHeader is HeaderForward's value for a move.
func forwardHeader(o shard.Order) string { return o.String() }

// parseForward reads it; ok is false if the value is malformed. An empty one is the zero order: not forwarded.
func parseForward(value string) (o shard.Order, ok bool) {
	if value == "" {
		return shard.Order{}, true
	}
	termText, moveText, _ := strings.Cut(value, "/")
	term, termErr := strconv.ParseUint(termText, 10, 64)
	move, moveErr := strconv.ParseUint(moveText, 10, 64)
	if termErr != nil || moveErr != nil || term == 0 || move == 0 {
		return shard.Order{}, false
	}
	return shard.Order{Term: shard.Term(term), Move: shard.MoveID(move)}, true
}
