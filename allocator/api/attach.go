package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// ProtocolVersion is the version of the Attach protocol that this allocator speaks.
const ProtocolVersion = 1

// helloTimeout is how long a stream may stay without its first message.
const helloTimeout = 10 * time.Second

// Attach serves AllocatorService. It is also the way back: Send carries the ledger's messages to the streams.
type Attach struct {
	node   Node
	places Places

	last    atomic.Uint64 // id of the newest stream
	mu      sync.Mutex
	streams map[ledger.StreamID]*outbox
	usages  *usages
}

var (
	_ shardmanagerv1connect.AllocatorServiceHandler = (*Attach)(nil)
	_ Usages                                        = (*Attach)(nil)
)

// NewAttach makes the service of an allocator.
func NewAttach(node Node, places Places) *Attach {
	return &Attach{node: node, places: places, streams: map[ledger.StreamID]*outbox{}, usages: newUsages()}
}

// Usage implements Usages.
func (a *Attach) Usage(server shard.ServerID, incarnation shard.Incarnation) (load.Usage, time.Duration, bool) {
	return a.usages.of(life{server: server, incarnation: incarnation})
}

// AgentVersion implements Usages.
func (a *Attach) AgentVersion(server shard.ServerID, incarnation shard.Incarnation) string {
	return a.usages.version(life{server: server, incarnation: incarnation})
}

// Send queues messages for their streams and never waits; a stream that is gone swallows its own.
func (a *Attach) Send(messages []ledger.Message) {
	for _, m := range messages {
		a.mu.Lock()
		out := a.streams[m.Stream]
		a.mu.Unlock()
		if out != nil {
			deliver(out, m.Body)
		}
	}
}

// Attach implements AllocatorServiceHandler.
func (a *Attach) Attach(ctx context.Context, stream *connect.BidiStream[pb.AttachRequest, pb.AttachResponse]) error {
	received := make(chan incoming) // unbuffered: while the loop has no room, the agent is not read from
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go receive(ctx, stream, received)

	hello, err := firstMessage(ctx, received)
	if err != nil {
		return err
	}
	status := a.node.Status()
	if err := checkHello(status.Cluster, hello); err != nil {
		return err
	}
	leader := a.node.Leader()
	if leader == nil {
		return notLeader(status, status.LeaderData)
	}
	id := ledger.StreamID(a.last.Add(1))
	event, err := helloEvent(id, hello)
	if err != nil {
		return invalid(err)
	}
	out := a.open(id)
	defer a.close(id)
	l := life{event.Server.ID, event.Server.Incarnation}
	a.usages.begin(l, id, hello.AgentVersion)
	defer a.usages.forget(l, id)
	s := &agentStream{id: id, life: l, leader: leader, out: out, conn: stream, node: a.node, locate: a.locator(event.Server), usages: a.usages}
	return s.serve(ctx, cancel, event, received)
}

func (a *Attach) open(id ledger.StreamID) *outbox {
	out := newOutbox()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams[id] = out
	return out
}

func (a *Attach) close(id ledger.StreamID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.streams, id)
}

// incoming is one message of an agent, or how its messages ended: io.EOF if it closed the stream in order.
type incoming struct {
	message *pb.AttachRequest
	err     error
}

func receive(ctx context.Context, stream *connect.BidiStream[pb.AttachRequest, pb.AttachResponse], to chan<- incoming) {
	for {
		m, err := stream.Receive()
		select {
		case to <- incoming{message: m, err: err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func firstMessage(ctx context.Context, received <-chan incoming) (*pb.Hello, error) {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case in := <-received:
		if in.err != nil {
			return nil, invalid(&wire.FieldError{Field: "hello", Expected: "a first message, not " + in.err.Error()})
		}
		if hello := in.message.GetHello(); hello != nil {
			return hello, nil
		}
		return nil, invalid(&wire.FieldError{Field: "hello", Expected: "the first message of the stream to be a hello"})
	case <-timer.C:
		return nil, invalid(&wire.FieldError{Field: "hello", Expected: fmt.Sprintf("a hello within %s", helloTimeout)})
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func checkHello(cluster string, hello *pb.Hello) error {
	if hello.Cluster != cluster {
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_WRONG_CLUSTER, "cluster",
			fmt.Sprintf("this allocator is of cluster %q, the agent of %q: correct the agent's cluster or its allocators", cluster, hello.Cluster), "")
	}
	if hello.ProtocolVersion != ProtocolVersion {
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_WRONG_PROTOCOL, "protocol_version",
			fmt.Sprintf("this allocator speaks version %d, the agent %d: run versions that fit", ProtocolVersion, hello.ProtocolVersion), "")
	}
	return nil
}

func helloEvent(id ledger.StreamID, hello *pb.Hello) (ledger.Hello, error) {
	server, err := wire.ServerFromProto(hello.Server)
	if err != nil {
		return ledger.Hello{}, err
	}
	if server.Incarnation == 0 {
		return ledger.Hello{}, &wire.FieldError{Field: "server.incarnation", Expected: "the incarnation registered in the store, not 0"}
	}
	if strings.Contains(string(server.ID), "/") {
		return ledger.Hello{}, &wire.FieldError{Field: "server.id", Expected: "a name without slashes"}
	}
	event := ledger.Hello{
		Stream: id, Server: server, Held: make([]shard.Held, len(hello.Held)),
		HighestEpoch: wire.EpochFromProto(hello.HighestEpoch), Draining: hello.Draining,
		Replicates: hello.Capabilities.GetChangeRole() && hello.Capabilities.GetMembership(),
	}
	for i, h := range hello.Held {
		if event.Held[i], err = wire.HeldFromProto(h); err != nil {
			return ledger.Hello{}, err
		}
	}
	return event, nil
}

// agentStream is one stream of one server, from its hello on.
type agentStream struct {
	id     ledger.StreamID
	life   life
	leader Leader
	node   Node
	usages *usages
	out    *outbox
	conn   *connect.BidiStream[pb.AttachRequest, pb.AttachResponse]
	locate func(*pb.AttachRequest)
}

// serve runs the stream to its end. The ledger hears of that end exactly once, after everything else of the stream.
func (s *agentStream) serve(ctx context.Context, cancel context.CancelFunc, hello ledger.Hello, received <-chan incoming) error {
	if err := s.leader.Post(ctx, hello); err != nil {
		return s.refusal(err)
	}
	up := make(chan error, 1)
	go func() { up <- s.carryUp(ctx, received) }()
	upEnded, err := s.carryDown(ctx, up)
	cancel()
	if upEnded == nil {
		upEnded = <-up
	}
	s.detach(!errors.Is(upEnded, io.EOF))
	return s.refusal(err)
}

// detach tells the ledger, which takes it as soon as it can: the stream's own context may be over.
func (s *agentStream) detach(reset bool) {
	_ = s.leader.Post(context.Background(), ledger.Detached{Stream: s.id, Reset: reset}) // fails only when nobody leads any more
}

// carryUp hands the agent's messages to the ledger, until they end (io.EOF: in order).
func (s *agentStream) carryUp(ctx context.Context, received <-chan incoming) error {
	for {
		select {
		case in := <-received:
			if in.err != nil {
				return in.err
			}
			event, err := eventOf(s.id, in.message)
			if err != nil {
				return invalid(err)
			}
			s.locate(in.message)
			if usage := in.message.GetRenew().GetUsage(); usage != nil {
				s.usages.note(s.life, s.id, wire.UsageFromProto(usage))
			}
			if event == nil {
				continue // a message of a newer protocol, which says nothing to us
			}
			if err := s.leader.Post(ctx, event); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// carryDown sends what the ledger says until the stream is over, from either side. upEnded is how the way up ended, if it did.
func (s *agentStream) carryDown(ctx context.Context, up <-chan error) (upEnded, err error) {
	for {
		messages, over, cause := s.out.take()
		for _, m := range messages {
			if err := s.conn.Send(m); err != nil {
				return nil, err
			}
		}
		if over {
			return nil, cause
		}
		select {
		case <-s.out.wake:
		case upEnded := <-up:
			if errors.Is(upEnded, io.EOF) {
				return upEnded, nil
			}
			return upEnded, upEnded
		case <-s.leader.Ended():
			return nil, ErrNotLeading
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// refusal is what the agent is told.
func (s *agentStream) refusal(err error) error {
	if errors.Is(err, ErrNotLeading) {
		status := s.node.Status()
		return notLeader(status, status.LeaderData)
	}
	return err
}
