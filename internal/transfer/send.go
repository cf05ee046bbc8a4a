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
}

// Serve answers one request: it sends the snapshot, as frames, and leaves it in the outbox for the hand-over.
func Serve(ctx context.Context, name Name, source Source, frame func(*pb.StreamStateResponse) error) error {
	snapshot, err := source.Outbox.Open(ctx, name, source.End)
	if err != nil {
		return err
	}
	return send(ctx, snapshot, source, frame)
}

func send(ctx context.Context, s *Snapshot, source Source, frame func(*pb.StreamStateResponse) error) (err error) {
	settled := false
	defer func() {
		switch {
		case !settled:
			s.settle(false)
		case err != nil:
			s.drop()
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	deadline, done := deadlines(ctx)
	defer done()
	out := &sender{ctx: ctx, source: source, send: frame, deadline: deadline, sum: xxhash.New()}
	if err := source.Valve.enter(ctx, out.ping); err != nil {
		return fmt.Errorf("wait for a place: %w", err)
	}
	defer source.Valve.leave()
	if err := source.Allowed(); err != nil {
		return err
	}
	begin := &pb.StateBegin{Request: s.name.ToProto(), TotalBytes: max(source.Size(), 0)}
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
	ctx      context.Context
	source   Source
	send     func(*pb.StreamStateResponse) error // blocks while the receiver does not read
	deadline func(time.Time) error               // of send

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
	err := s.frame(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Chunk{Chunk: chunk}})
	s.buffer = s.buffer[:0]
	return err
}

func (s *sender) ping() error {
	return s.frame(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Wait{Wait: &pb.StateWait{}}})
}

// frame sends one frame if that is still allowed and the receiver takes it in time.
func (s *sender) frame(f *pb.StreamStateResponse) error {
	if err := s.source.Allowed(); err != nil {
		return err
	}
	if err := s.deadline(time.Now().Add(s.source.Stall)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	if cause := context.Cause(s.ctx); cause != nil { // after the deadline was set: whoever cancels from here on sets it last
		return cause
	}
	begun := time.Now()
	err := s.send(f)
	switch cause := context.Cause(s.ctx); {
	case err == nil:
		return nil
	case time.Since(begun) >= s.source.Stall: // net/http cancels the context then too
		return fmt.Errorf("%w: the receiver took nothing for %s: %w", ErrStalled, s.source.Stall, err)
	case cause != nil:
		return cause
	}
	return err
}
