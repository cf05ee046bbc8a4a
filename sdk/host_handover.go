package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/shard"
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
		DialContext: dialer.DialContext, DisableCompression: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64,
		MaxConnsPerHost: 256, IdleConnTimeout: 30 * time.Second,
	}
}

// prepareDrop hands the shard over to the target of a move: new requests wait, running ones finish, the last state and the marker go to
// the target, then everything is forwarded. When it returns nil, nothing executes here any more. errStillRunning means busy: the
// shard is served on. Any other error after the last operation ended leaves requests waiting for the next attempt (docs/architecture.md
// §6).
func (h *Host) prepareDrop(ctx context.Context, r *replica, o shard.Order, to shard.Peer, patience time.Duration) error {
	if r.snapshot().phase == shard.Serving {
		before := r.setGate(gateHold)
		err := r.quiesce(ctx, patience)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			r.setGate(before)
			return fmt.Errorf("hand over shard %s: %w", r.id, err)
		}
		r.update(func() { r.record.enter(shard.Forwarding, o) })
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
		r.record.handed, r.gate = true, gateForward
		r.lastState, r.asked = nil, false
	})
	return nil
}

// handOver asks the application for its last state, once, and sends it.
func (h *Host) handOver(ctx context.Context, r *replica, o shard.Order, to shard.Peer) error {
	if source, ok := h.handler.(StateSource); ok && !r.asked {
		s := h.shardAt(r, r.snapshot().term, RolePrimary)
		err := h.call(ctx, r.life, "LastState", s, func(ctx context.Context) error {
			state, err := source.LastState(ctx, s)
			if err == nil && len(state) > maxState {
				err = fmt.Errorf("%d bytes: expected at most %d", len(state), maxState)
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
	if err := h.sendState(ctx, r, o, to); err != nil {
		return fmt.Errorf("hand over shard %s to %s at %s: %w", r.id, to.Server, to.DataAddress, err)
	}
	return nil
}

// sendState sends the last state in parts; the last one carries the marker: nothing executes here any more.
func (h *Host) sendState(ctx context.Context, r *replica, o shard.Order, to shard.Peer) error {
	client := shardmanagerv1connect.NewShardHostServiceClient(&http.Client{Transport: h.peers}, "http://"+to.DataAddress)
	stream, err := client.TransferState(ctx)
	if err != nil {
		return err
	}
	message := &pb.TransferStateRequest{
		Command: &pb.ShardCommand{
			App: h.app, Shard: r.id, Term: uint64(o.Term), Move: uint64(o.Move), Incarnation: uint64(to.Incarnation),
		},
		From: r.life.server, FromIncarnation: uint64(r.life.incarnation),
	}
	for rest := r.lastState; ; {
		n := min(len(rest), maxStatePart)
		message.State, rest = rest[:n], rest[n:]
		message.Marker = len(rest) == 0
		if err := stream.Send(message); err != nil && !errors.Is(err, io.EOF) {
			_, _ = stream.CloseAndReceive()
			return err
		} else if err != nil || message.Marker {
			break // io.EOF: the answer says why
		}
		message = &pb.TransferStateRequest{}
	}
	_, err = stream.CloseAndReceive()
	return err
}

// TransferState is the target's half: it takes the state and the marker, then activates the application.
func (s *service) TransferState(
	ctx context.Context, stream *connect.ClientStream[pb.TransferStateRequest],
) (*pb.TransferStateResponse, error) {
	h := s.host
	if !stream.Receive() {
		return nil, typed(firstError(stream.Err(), invalid("command", "a first message")))
	}
	first := stream.Msg()
	state, err := receiveState(stream)
	if err != nil {
		return nil, typed(err)
	}
	if _, ok := h.handler.(Activator); !ok && len(state) > 0 {
		return nil, invalid("state", "no state: this version of the application has no Activate to take it")
	}
	err = h.command(ctx, commandTransfer, first.GetCommand(), func(r *replica, o shard.Order) error {
		r.mu.Lock()
		source := r.peer
		r.mu.Unlock()
		if string(source.Server) != first.GetFrom() || uint64(source.Incarnation) != first.GetFromIncarnation() {
			return stale("from", "the source of the move, "+string(source.Server)+" "+source.Incarnation.String())
		}
		return h.activate(ctx, r, o, state, r.members)
	})
	if err != nil {
		return nil, typed(err)
	}
	return &pb.TransferStateResponse{}, nil
}

// receiveState reads the parts up to the marker. The first message was received already.
func receiveState(stream *connect.ClientStream[pb.TransferStateRequest]) ([]byte, error) {
	var state []byte
	for {
		message := stream.Msg()
		switch {
		case len(message.GetState()) > maxStatePart:
			return nil, invalid("state", fmt.Sprintf("parts of at most %d bytes", maxStatePart))
		case len(state)+len(message.GetState()) > maxState:
			return nil, invalid("state", fmt.Sprintf("at most %d bytes in all", maxState))
		}
		state = append(state, message.GetState()...)
		if message.GetMarker() {
			return state, nil
		}
		if !stream.Receive() {
			return nil, firstError(stream.Err(), invalid("marker", "the hand-over marker in the last message"))
		}
	}
}

func firstError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
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
