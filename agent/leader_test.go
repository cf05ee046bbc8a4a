package agent_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// leader is a small allocator that speaks the real protocol: it welcomes, grants what it is told to, and keeps what it hears.
type leader struct {
	t       testing.TB
	address string
	server  *http.Server
	mux     *http.ServeMux

	mu                 sync.Mutex
	leads              bool
	hint               string
	refuses            bool // every message but hellos
	epoch              uint64
	interval, validity time.Duration // as welcomed
	grant              time.Duration // of each renewal; 0: denied
	rest               time.Duration // of each rest lease
	left               int           // drain progress
	renewals           int           // heard; only those with news are kept
	streams            map[*attached]struct{}
	heard              []*pb.AttachRequest
	hellos             []*pb.Hello
	helloAt            []time.Time
	xs                 []int64 // first part of each coordinate heard
	without            int     // renewals after the first of those that had none
}

type attached struct {
	hello *pb.Hello
	out   chan *pb.AttachResponse
	reset chan struct{}
}

func newLeader(t testing.TB, epoch uint64) *leader {
	l := &leader{t: t, leads: true, epoch: epoch, interval: interval, validity: validity, grant: validity, rest: 30 * time.Second, streams: map[*attached]struct{}{}, mux: http.NewServeMux()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address = listener.Addr().String()
	l.mux.Handle(shardmanagerv1connect.NewAllocatorServiceHandler(l))
	l.server = transport.NewServer(context.Background(), l.mux)
	go func() { _ = l.server.Serve(listener) }()
	t.Cleanup(func() { _ = l.server.Close() })
	return l
}

func (l *leader) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// stop ends the process of this allocator, as seen from outside.
func (l *leader) stop() {
	l.set(func() { l.leads = false })
	_ = l.server.Close()
}

// resetAll breaks every stream.
func (l *leader) resetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.streams {
		close(s.reset)
		delete(l.streams, s)
	}
}

func (l *leader) Attach(_ context.Context, conn *connect.BidiStream[pb.AttachRequest, pb.AttachResponse]) error {
	first, err := conn.Receive()
	if err != nil {
		return err
	}
	l.mu.Lock()
	if !l.leads {
		defer l.mu.Unlock()
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "attach", "the leader", l.hint)
	}
	s := &attached{hello: first.GetHello(), out: make(chan *pb.AttachResponse, 2000), reset: make(chan struct{})}
	l.streams[s] = struct{}{}
	l.hellos, l.helloAt = append(l.hellos, s.hello), append(l.helloAt, time.Now())
	welcome := &pb.Welcome{Epoch: &pb.Epoch{Index: l.epoch}, IntervalMs: l.interval.Milliseconds(), ValidityMs: l.validity.Milliseconds()}
	l.mu.Unlock()
	defer l.set(func() { delete(l.streams, s) })
	if err := conn.Send(&pb.AttachResponse{Message: &pb.AttachResponse_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		for {
			request, err := conn.Receive()
			if err != nil {
				ended <- nil
				return
			}
			if err := l.refusal(); err != nil {
				ended <- err
				return
			}
			l.hear(s, request)
		}
	}()
	for {
		select {
		case m := <-s.out:
			if err := conn.Send(m); err != nil {
				return err
			}
			if m.GetFenced() != nil {
				return nil
			}
		case <-s.reset:
			return connect.NewError(connect.CodeUnavailable, context.Canceled)
		case err := <-ended:
			return err
		}
	}
}

// refusal is what it says to a message that it does not take.
func (l *leader) refusal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.refuses {
		return nil
	}
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "renew", "something else", "")
}

func (l *leader) hear(s *attached, request *pb.AttachRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m := request.GetMessage().(type) {
	case *pb.AttachRequest_Renew:
		s.out <- &pb.AttachResponse{Message: &pb.AttachResponse_Grant{Grant: &pb.Grant{Sequence: m.Renew.GetSequence(), RemainingNs: int64(l.grant)}}}
		if c := m.Renew.GetCoordinate(); c != nil {
			l.xs = append(l.xs, c.GetVectorNs()[0])
		} else if len(l.xs) > 0 {
			l.without++
		}
		if l.renewals++; len(m.Renew.GetLoads()) == 0 && m.Renew.GetUsage() == nil {
			return
		}
	case *pb.AttachRequest_Rest:
		s.out <- &pb.AttachResponse{Message: &pb.AttachResponse_RestGranted{RestGranted: &pb.RestGranted{
			Sequence: m.Rest.GetSequence(), RemainingNs: int64(l.rest),
		}}}
	case *pb.AttachRequest_Drain:
		s.out <- &pb.AttachResponse{Message: &pb.AttachResponse_DrainProgress{DrainProgress: &pb.DrainProgress{Remaining: uint32(l.left)}}}
	}
	l.heard = append(l.heard, request)
}

// send says something to every server attached.
func (l *leader) send(m *pb.AttachResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.streams {
		s.out <- m
	}
}

// helloOf is the last hello heard.
func (l *leader) helloOf() *pb.Hello {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.hellos) == 0 {
		return nil
	}
	return l.hellos[len(l.hellos)-1]
}

// hellosNow is how often an agent attached.
func (l *leader) hellosNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.hellos)
}

func (l *leader) attachedNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

// find waits for a message that fits.
func (l *leader) find(what string, fits func(*pb.AttachRequest) bool) *pb.AttachRequest {
	l.t.Helper()
	var found *pb.AttachRequest
	eventually(l.t, what, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, m := range l.heard {
			if fits(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// command sends a command and waits for its result.
func (l *leader) command(incarnation uint64, shard string, term, move uint64, kind pb.CommandKind, peer *pb.Peer) *pb.Result {
	l.t.Helper()
	id := &pb.CommandId{Epoch: &pb.Epoch{Index: l.epoch}, Incarnation: incarnation, Shard: shard, Term: term, Move: move, Kind: kind}
	l.send(&pb.AttachResponse{Message: &pb.AttachResponse_Command{Command: &pb.Command{Id: id, Peer: peer, DeadlineMs: 5000}}})
	return l.find("the result of "+kind.String(), func(m *pb.AttachRequest) bool {
		c := m.GetResult().GetCommand()
		return c.GetShard() == shard && c.GetTerm() == term && c.GetMove() == move && c.GetKind() == kind
	}).GetResult()
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(3 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-ticker.C:
		}
	}
}
