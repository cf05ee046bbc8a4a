package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/agent/pacing"
	"github.com/shardmanager/shardmanager/agent/probe"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits and times of attaching.
const (
	protocolVersion = 1
	welcomeWait     = 3 * time.Second // a leader reads the server's key before it welcomes
	maxHops         = 3               // hints followed in a row
	maxOutgoing     = 4096            // messages that wait to be sent; at one more the stream is given up and opened anew
	maxProbes       = 32              // probes at once, of all servers; a further one is not answered, which is no evidence (R15)
	flushWait       = time.Second     // for what is still to be sent when a stream is closed in order
)

// attacher keeps one incarnation attached to whoever leads. The loop makes it, sends through it and ends it.
type attacher struct {
	agent       *Agent
	server      shard.ServerID
	app         shard.App
	incarnation shard.Incarnation
	cancel      context.CancelFunc
	finish      chan struct{} // closed: send what waits, then go

	mu      sync.Mutex
	current *stream
}

// stream is one open Attach stream.
type stream struct {
	id     roster.StreamID
	out    chan *pb.AttachRequest
	cancel context.CancelFunc
	full   atomic.Bool
	// outranked: somebody else leads by now.
	outranked atomic.Bool
}

func (a *Agent) attach(app shard.App, server shard.ServerID, incarnation shard.Incarnation) *attacher {
	ctx, cancel := context.WithCancel(a.ctx)
	t := &attacher{agent: a, app: app, server: server, incarnation: incarnation, cancel: cancel, finish: make(chan struct{})}
	a.work.Go(func() {
		defer cancel()
		t.run(ctx)
	})
	return t
}

// send queues a message for a stream, if that is still the one that is open.
func (t *attacher) send(id roster.StreamID, message *pb.AttachRequest) {
	t.mu.Lock()
	s := t.current
	t.mu.Unlock()
	if s == nil || s.id != id {
		return
	}
	select {
	case s.out <- message:
	default:
		s.full.Store(true)
		s.cancel()
	}
}

// end lets the attacher send what waits and then go; it never comes back.
func (t *attacher) end() { close(t.finish) }

// run finds the leader and stays with it, again and again. During a pause that is long nobody is asked, which is no evidence of anything.
func (t *attacher) run(ctx context.Context) {
	pauses := pacing.New()
	defer t.agent.contact.rests(t)
	for number := 0; ; number++ {
		t.agent.contact.asks(t, t.agent.now())
		election := t.agent.leaders.Election()
		turn := t.round(ctx, number)
		pause := pauses.After(turn)
		if pause > 2*pacing.Longest {
			t.agent.contact.rests(t)
		}
		var news <-chan struct{}
		if !turn.Stuck {
			news = election.Outdated
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		case <-t.finish:
			return
		case <-time.After(pause):
		}
	}
}

// round asks every candidate once, following hints, and stays with the first that welcomes until that ends.
func (t *attacher) round(ctx context.Context, number int) pacing.Turn {
	tried := map[string]bool{}
	queue := t.agent.leaders.Candidates(number)
	var failed error
	var came pacing.Turn
	for hops := 0; len(queue) > 0; {
		address := queue[0]
		queue = queue[1:]
		if tried[address] {
			continue
		}
		tried[address] = true
		lasted, err := t.try(ctx, address)
		if lasted > 0 || ctx.Err() != nil || t.finishing() {
			return pacing.Turn{Lasted: lasted, Refused: pacing.IsRefusal(err)}
		}
		t.agent.leaders.Forget(address)
		if failed = err; errors.Is(err, errOver) {
			t.cancel()
			return pacing.Turn{Stuck: true}
		}
		came.Refused = came.Refused || pacing.IsRefusal(err)
		detail, typed := wire.DetailOf(err)
		if !typed {
			continue
		}
		switch detail.GetReason() {
		case pb.ErrorReason_ERROR_REASON_NOT_LEADER:
			if hint := detail.GetHint(); hint != "" && hops < maxHops {
				hops++
				queue = append([]string{hint}, queue...)
			}
		case pb.ErrorReason_ERROR_REASON_FENCED:
			t.post(roster.Fenced{Incarnation: t.incarnation, Reason: detail.GetExpected()})
			return pacing.Turn{Stuck: true}
		case pb.ErrorReason_ERROR_REASON_WRONG_CLUSTER, pb.ErrorReason_ERROR_REASON_WRONG_PROTOCOL,
			pb.ErrorReason_ERROR_REASON_DUPLICATE_SERVER, pb.ErrorReason_ERROR_REASON_INVALID:
			t.trouble(address, err)
			return pacing.Turn{Stuck: true}
		}
	}
	t.trouble("any allocator", failed)
	return came
}

func (t *attacher) finishing() bool {
	select {
	case <-t.finish:
		return true
	default:
		return false
	}
}

func (t *attacher) post(ev roster.Event) { t.agent.post(rosterMail{app: t.app, event: ev}) }

func (t *attacher) trouble(where string, err error) {
	t.agent.post(attachTrouble{app: t.app, where: where, err: err})
}

// try opens a stream at one allocator. It returns how long a stream lasted that was welcomed, and why it ended; 0 if none was.
func (t *attacher) try(ctx context.Context, address string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hello, err := t.hello(ctx)
	if err != nil {
		return 0, err
	}
	service, err := t.agent.leaders.Service(address)
	if err != nil {
		return 0, err
	}
	impatience := time.AfterFunc(welcomeWait, cancel)
	defer impatience.Stop()
	conn, err := service.Attach(ctx)
	if err != nil {
		return 0, err
	}
	// While a request's body is open, net/http does not look at its context: closing it makes a cancelled stream end.
	stop := context.AfterFunc(ctx, func() { _ = conn.CloseRequest() })
	defer func() {
		stop()
		_ = conn.CloseRequest()
		_ = conn.CloseResponse()
	}()
	if err := conn.Send(hello); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	first, err := conn.Receive()
	if err != nil {
		return 0, err
	}
	if fenced := first.GetFenced(); fenced != nil {
		t.post(roster.Fenced{Incarnation: shard.Incarnation(fenced.GetIncarnation()), Reason: fenced.GetReason()})
		return pacing.Shortest, nil
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return 0, fmt.Errorf("attach: %s: first message is no Welcome", address)
	}
	impatience.Stop()
	t.agent.leaders.Learn(address)
	began := time.Now()
	err = t.stay(ctx, cancel, conn, welcome)
	if pacing.IsRefusal(err) {
		t.trouble(address, err)
	}
	return max(time.Since(began), 1), err
}

func (t *attacher) hello(ctx context.Context) (*pb.AttachRequest, error) {
	answer := make(chan helloAnswer, 1)
	t.agent.post(helloMail{app: t.app, incarnation: t.incarnation, answer: answer})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		if !a.ok {
			return nil, errOver
		}
		has := a.hello.Application
		hello := &pb.Hello{
			Cluster: t.agent.cfg.Cluster, ProtocolVersion: protocolVersion, Server: wire.ServerToProto(a.hello.Server),
			HighestEpoch: wire.EpochToProto(a.hello.Highest), Draining: a.hello.Draining, AgentVersion: t.agent.version,
			Capabilities: &pb.HostCapabilities{
				Activate: has.Activate, Prepare: has.Prepare, ChangeRole: has.ChangeRole, Membership: has.Membership, Load: has.Load,
			},
		}
		for _, h := range a.hello.Held {
			hello.Held = append(hello.Held, wire.HeldToProto(h))
		}
		return &pb.AttachRequest{Message: &pb.AttachRequest_Hello{Hello: hello}}, nil
	}
}

// errOver: nobody is to be attached any more.
var errOver = errors.New("attach: the incarnation is over")

type attachConn = connect.BidiStreamForClientSimple[pb.AttachRequest, pb.AttachResponse]

// stay carries a welcomed stream until it ends, and returns why it did.
func (t *attacher) stay(ctx context.Context, cancel context.CancelFunc, conn *attachConn, welcome *pb.Welcome) error {
	s := &stream{id: roster.StreamID(t.agent.streams.Add(1)), out: make(chan *pb.AttachRequest, maxOutgoing), cancel: cancel}
	t.mu.Lock()
	t.current = s
	t.mu.Unlock()
	epoch := wire.EpochFromProto(welcome.GetEpoch())
	t.agent.contact.answered(epoch, t.agent.now())
	t.post(roster.Attached{
		Stream: s.id, Incarnation: t.incarnation, Epoch: epoch,
		Interval: time.Duration(welcome.GetIntervalMs()) * time.Millisecond, Validity: time.Duration(welcome.GetValidityMs()) * time.Millisecond,
	})
	var sender sync.WaitGroup
	sender.Go(func() { t.pump(ctx, conn, s) })
	sender.Go(func() { t.leaveOutranked(ctx, s, welcome.GetEpoch()) })
	var ended error
	for {
		message, err := conn.Receive()
		if err != nil {
			ended = err
			break
		}
		t.agent.contact.answered(epoch, t.agent.now())
		if !t.receive(ctx, s, message) {
			break
		}
	}
	why := "closed by the leader"
	switch {
	case s.outranked.Load():
		why = "another allocator leads"
	case s.full.Load():
		why = fmt.Sprintf("%d messages waited to be sent", maxOutgoing)
	case ended != nil && !errors.Is(ended, io.EOF):
		why = ended.Error()
	}
	cancel()
	sender.Wait()
	t.post(roster.Detached{Stream: s.id, Why: why})
	return ended
}

// leaveOutranked ends the stream once somebody else leads by the store's word.
func (t *attacher) leaveOutranked(ctx context.Context, s *stream, epoch *pb.Epoch) {
	for {
		election := t.agent.leaders.Election()
		if election.Outranks(epoch) {
			s.outranked.Store(true)
			s.cancel()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-election.Outdated:
		}
	}
}

// pump sends what is queued. When the attacher is to finish, it sends what waits, closes its side in order, and gives the leader a
// moment to do the same.
func (t *attacher) pump(ctx context.Context, conn *attachConn, s *stream) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-s.out:
			if conn.Send(message) != nil {
				return // the receiver learns why
			}
		case <-t.finish:
			timer := time.AfterFunc(flushWait, s.cancel)
			defer timer.Stop()
			for {
				select {
				case message := <-s.out:
					if conn.Send(message) != nil {
						return
					}
					continue
				default:
				}
				break
			}
			_ = conn.CloseRequest()
			<-ctx.Done()
			return
		}
	}
}

// receive takes one message in; false ends the stream.
func (t *attacher) receive(ctx context.Context, s *stream, message *pb.AttachResponse) bool {
	switch m := message.GetMessage().(type) {
	case *pb.AttachResponse_Grant:
		t.post(roster.Granted{Stream: s.id, Sequence: m.Grant.GetSequence(), Remaining: time.Duration(m.Grant.GetRemainingNs()), ServeOn: m.Grant.GetServeOn()})
	case *pb.AttachResponse_RestGranted:
		t.post(roster.RestGranted{
			Stream: s.id, Sequence: m.RestGranted.GetSequence(), Remaining: time.Duration(m.RestGranted.GetRemainingNs()),
		})
	case *pb.AttachResponse_Command:
		command, ok := commandFromProto(s.id, m.Command)
		if !ok {
			t.trouble("leader", fmt.Errorf("command %v makes no sense: is this agent too old?", m.Command.GetId()))
			return true
		}
		t.agent.post(rosterMail{app: t.app, event: command, traceParent: m.Command.GetTraceParent()})
	case *pb.AttachResponse_Probe:
		t.probe(ctx, s, m.Probe)
	case *pb.AttachResponse_DrainProgress:
		t.post(roster.DrainProgress{Stream: s.id, Remaining: int(m.DrainProgress.GetRemaining())})
	case *pb.AttachResponse_Fenced:
		t.post(roster.Fenced{Incarnation: shard.Incarnation(m.Fenced.GetIncarnation()), Reason: m.Fenced.GetReason()})
		return false
	}
	return true
}

func (t *attacher) probe(ctx context.Context, s *stream, p *pb.Probe) {
	select {
	case t.agent.probes <- struct{}{}:
	default:
		return
	}
	t.agent.work.Go(func() {
		answer := probe.Run(ctx, p)
		<-t.agent.probes
		t.send(s.id, &pb.AttachRequest{Message: &pb.AttachRequest_ProbeAnswer{ProbeAnswer: answer}})
	})
}
