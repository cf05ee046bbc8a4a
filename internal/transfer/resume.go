package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// keepSent is how much of what a source sent last it keeps, in bytes. What a connection that broke had taken and not delivered is as much as the kernels at both
// ends buffer, usually a fraction of this; if it is more, the attempt fails, and the next one begins anew.
const keepSent = 8 << 20

var (
	// errBroken: the response carries nothing any more, but the snapshot may go on in another one.
	errBroken = errors.New("the connection broke")
	// errReplaced: the target asked again.
	errReplaced = errors.New("the target goes on in another response")
)

// carrier is one response that carries frames.
type carrier struct {
	ctx      context.Context // ends with the request, or when another one takes its place
	cancel   context.CancelCauseFunc
	name     Name
	send     func(*pb.StreamStateResponse) error
	deadline func(time.Time) error // of send
	done     func()

	over chan struct{} // closed once nothing is sent any more
	err  error         // how it ended
}

func newCarrier(ctx context.Context, name Name, send func(*pb.StreamStateResponse) error) *carrier {
	c := &carrier{name: name, send: send, over: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.deadline, c.done = deadlines(c.ctx)
	return c
}

// close lets go of the response; its handler may return.
func (c *carrier) close() {
	c.cancel(context.Canceled)
	c.done()
}

func (c *carrier) end(err error) {
	c.err = err
	close(c.over)
}

// line is what carries a snapshot at present, and what is to carry it next. The zero line carries nothing yet.
type line struct {
	mu     sync.Mutex
	now    *carrier // nil: nothing was begun, or all is over
	next   *carrier
	better chan struct{} // has one element while there is a next
}

func (l *line) begin(c *carrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.better = c, make(chan struct{}, 1)
}

// offer lets a response go on with what the present one carries; false: there is nothing to go on with.
func (l *line) offer(c *carrier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		return false
	}
	if l.next != nil {
		l.next.end(errReplaced)
	} else {
		l.better <- struct{}{}
	}
	l.next = c
	l.now.cancel(errReplaced)
	return true
}

// replace waits for another response in the place of one that broke.
func (l *line) replace(ctx context.Context, broken error, patience time.Duration) (*carrier, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.better:
	case <-timer.C:
		return nil, broken
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.end(broken)
	l.now, l.next = l.next, nil
	return l.now, nil
}

// interrupt ends a send under way.
func (l *line) interrupt(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.now.cancel(cause)
	}
}

// end is the end of all of them.
func (l *line) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range []*carrier{l.now, l.next} {
		if c != nil {
			c.end(err)
		}
	}
	l.now, l.next = nil, nil
}

// resume goes on with a snapshot that is being sent, in another response, and returns when nothing more is sent in that.
func (o *Outbox) resume(c *carrier) error {
	o.mu.Lock()
	var found *Snapshot
	for _, s := range o.list {
		if s.name.Target.Incarnation == c.name.Target.Incarnation && s.name.Order == c.name.Order && s.name.Attempt == c.name.Attempt {
			found = s
		}
	}
	o.mu.Unlock()
	if found == nil || !found.line.offer(c) {
		return fmt.Errorf("attempt %d of %s: %w", c.name.Attempt, c.name.Target.Server, ErrDropped)
	}
	<-c.over
	return c.err
}

// keep notes a chunk that is about to be sent, and returns a buffer for the next one, if there is one to spare.
func (s *sender) keep(c *pb.StateChunk) (spare []byte) {
	s.kept, s.keptBytes = append(s.kept, c), s.keptBytes+len(c.GetContent())
	for first := s.kept[0].GetContent(); s.keptBytes-len(first) >= keepSent; first = s.kept[0].GetContent() {
		s.kept, s.keptBytes, spare = s.kept[1:], s.keptBytes-len(first), first[:0]
	}
	return spare
}

// resume finds another response, and sends what the target lacks. It returns once the target has been sent all chunks so far.
func (s *sender) resume(broken error) error {
	for {
		c, err := s.line.replace(s.ctx, broken, s.source.Stall)
		if err != nil {
			return err
		}
		s.carrier = c
		if err := s.again(); !errors.Is(err, errBroken) {
			return err
		}
	}
}

func (s *sender) again() error {
	c := s.carrier
	if has := c.name.Received; has > s.chunks || has < s.chunks && (len(s.kept) == 0 || s.kept[0].GetNumber() > has+1) {
		return fmt.Errorf("%w: the target has %d of %d chunks, and the next one is not kept any more", ErrIncomplete, has, s.chunks)
	}
	begin := &pb.StateBegin{Request: c.name.ToProto(), TotalBytes: s.total}
	if err := s.try(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Begin{Begin: begin}}); err != nil {
		return err
	}
	for _, chunk := range s.kept {
		if chunk.GetNumber() <= c.name.Received {
			continue
		}
		if err := s.try(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Chunk{Chunk: chunk}}); err != nil {
			return err
		}
	}
	return nil
}
