package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Source is what Serve needs to know of whoever gives the state.
type Source struct {
	Valve  *Valve
	Outbox *Outbox
	Stall  time.Duration // longest time that the receiver may take over one frame
	// Allowed is asked before each frame: an error ends the stream.
	Allowed func() error
	// Size of the snapshot in bytes as far as anybody knows, for progress; 0: nobody.
	Size func() int64
	// Write has the application write its snapshot. It is not called before the stream has a place.
	Write func(context.Context, io.Writer) error
	// End tells the application that the snapshot is of no use any more: once, not while Write runs.
	End func()
	// Life ends everything; nil: nothing does.
	Life context.Context
}

// Serve answers one request: it sends the snapshot, as frames, and leaves it in the outbox for the hand-over. If the connection breaks, it waits for the target
// to ask again, for as long as Stall.
func Serve(ctx context.Context, name Name, source Source, frame func(*pb.StreamStateResponse) error) error {
	c := newCarrier(ctx, name, frame)
	defer c.close()
	if name.Received > 0 {
		return source.Outbox.resume(c)
	}
	snapshot, err := source.Outbox.Open(ctx, name, source.End)
	if err != nil {
		return err
	}
	return send(c, snapshot, source)
}

func send(c *carrier, s *Snapshot, source Source) (err error) {
	settled := false
	defer func() {
		switch {
		case !settled:
			s.settle(false)
		case err != nil:
			s.drop()
		}
	}()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(c.ctx)) // it may outlast the request
	defer cancel(context.Canceled)
	endsWith := func(other context.Context) (stop func() bool) {
		return context.AfterFunc(other, func() { cancel(context.Cause(other)) })
	}
	defer endsWith(s.ctx)()
	if source.Life != nil {
		defer endsWith(source.Life)()
	}
	defer context.AfterFunc(ctx, func() { s.line.interrupt(context.Cause(ctx)) })()
	out := &sender{ctx: ctx, source: source, line: &s.line, carrier: c, alone: endsWith(c.ctx), sum: xxhash.New()}
	s.line.begin(c)
	defer func() { s.line.end(err) }()
	if err := source.Valve.enter(ctx, out.ping); err != nil {
		return fmt.Errorf("wait for a place: %w", err)
	}
	defer source.Valve.leave()
	if err := source.Allowed(); err != nil {
		return err
	}
	out.total = max(source.Size(), 0)
	begin := &pb.StateBegin{Request: s.name.ToProto(), TotalBytes: out.total}
	if err := out.frame(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Begin{Begin: begin}}); err != nil {
		return err
	}
	if err := source.Write(ctx, out); err != nil {
		return errors.Join(err, out.err)
	}
	if err := out.flush(); err != nil {
		return err
	}
	s.settle(true) // before the target can know, and with it the leader
	settled = true
	end := &pb.StateEnd{Chunks: out.chunks, TotalBytes: out.bytes, Checksum: out.sum.Sum64()}
	return out.frame(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_End{End: end}})
}

// controllerKey leads to the response of a call.
type controllerKey struct{}

// WithDeadlines gives the calls of a handler what Serve needs to set deadlines of its own for its writes, whatever the server's are.
func WithDeadlines(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), controllerKey{}, http.NewResponseController(w))))
	})
}

// deadlines makes writes of a response fail from an instant on, and at once when ctx ends: a write under way does not look at contexts.
func deadlines(ctx context.Context) (set func(time.Time) error, done func()) {
	controller, ok := ctx.Value(controllerKey{}).(*http.ResponseController)
	if !ok {
		return func(time.Time) error { return nil }, func() {}
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = controller.SetWriteDeadline(time.Now())
	})
	return controller.SetWriteDeadline, func() {
		if !stop() {
			<-interrupted
		}
		_ = controller.SetWriteDeadline(time.Time{}) // the connection goes on
	}
}

// sender cuts what is written into chunks. It is used by one goroutine, and remembers its first error.
type sender struct {
	ctx     context.Context
	source  Source
	line    *line
	carrier *carrier    // of the line, now
	alone   func() bool // to be called once another response could go on
	total   int64       // as announced

	kept      []*pb.StateChunk // those sent last
	keptBytes int

	buffer []byte // less than a chunk
	chunks uint64
	bytes  uint64
	sum    *xxhash.Digest
	err    error
}

// Write implements io.Writer.
func (s *sender) Write(p []byte) (int, error) {
	written := 0
	size := s.source.Valve.chunk()
	for len(p) > 0 && s.err == nil {
		if s.buffer == nil {
			s.buffer = make([]byte, 0, size)
		}
		n := min(size-len(s.buffer), len(p))
		s.buffer = append(s.buffer, p[:n]...)
		p, written = p[n:], written+n
		if len(s.buffer) == size {
			s.err = s.flush()
		}
	}
	return written, s.err
}

func (s *sender) flush() error {
	if s.err != nil || len(s.buffer) == 0 {
		return s.err
	}
	if err := s.source.Valve.pass(s.ctx, len(s.buffer), s.ping); err != nil {
		return err
	}
	s.chunks, s.bytes = s.chunks+1, s.bytes+uint64(len(s.buffer))
	_, _ = s.sum.Write(s.buffer) // never fails
	chunk := &pb.StateChunk{Number: s.chunks, Content: s.buffer}
	s.buffer = s.keep(chunk)
	s.alone()
	return s.frame(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Chunk{Chunk: chunk}})
}

func (s *sender) ping() error {
	return s.frame(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Wait{Wait: &pb.StateWait{}}})
}

// frame sends one frame, in another response if the present one breaks.
func (s *sender) frame(f *pb.StreamStateResponse) error {
	for {
		err := s.try(f)
		if s.chunks == 0 || !errors.Is(err, errBroken) {
			return err
		}
		if err := s.resume(err); err != nil || f.GetChunk() != nil { // it is among those that went out again
			return err
		}
	}
}

// try sends one frame if that is still allowed and the receiver takes it in time.
func (s *sender) try(f *pb.StreamStateResponse) error {
	if err := s.source.Allowed(); err != nil {
		return err
	}
	c := s.carrier
	if err := c.deadline(time.Now().Add(s.source.Stall)); err != nil {
		return fmt.Errorf("%w: set a deadline: %w", errBroken, err)
	}
	if cause := context.Cause(s.ctx); cause != nil { // after the deadline was set: whoever cancels from here on sets it last
		return cause
	}
	if cause := context.Cause(c.ctx); cause != nil {
		return fmt.Errorf("%w: %w", errBroken, cause)
	}
	begun := time.Now()
	err := c.send(f)
	switch cause := context.Cause(s.ctx); {
	case err == nil:
		return nil
	case time.Since(begun) >= s.source.Stall && !errors.Is(context.Cause(c.ctx), errReplaced): // net/http cancels the context then too
		return fmt.Errorf("%w: the receiver took nothing for %s: %w", ErrStalled, s.source.Stall, err)
	case cause != nil:
		return cause
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}
