package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"connectrpc.com/connect"
	"github.com/cespare/xxhash/v2"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits of what a receiver puts up with.
type Limits struct {
	Stall time.Duration // longest time without a frame
	Bytes int64         // largest content
}

// Reader gives the content of a stream. It is the application's for the length of one callback, and its Read returns io.EOF only after an
// end that fits what was read; any other error means that everything read is void.
type Reader struct {
	ctx    context.Context
	cancel context.CancelCauseFunc // ends a Receive under way
	name   Name
	limits Limits
	next   func() (*pb.StreamStateResponse, error) // io.EOF: the stream ended in order
	meter  *Meter
	reopen func(received uint64) // makes next open the stream anew, after so many chunks; nil: it cannot

	again  bool // the next frame is the begin of a stream that goes on
	breaks int  // since the last chunk
	broke  error

	rest   []byte // of the last chunk
	chunks uint64
	bytes  int64
	sum    *xxhash.Digest
	err    error // how it ended; nil: it has not
}

// newReader reads frames from next, which has to return once cancel was called.
func newReader(
	ctx context.Context, cancel context.CancelCauseFunc, name Name, limits Limits, meter *Meter, next func() (*pb.StreamStateResponse, error),
) *Reader {
	return &Reader{ctx: ctx, cancel: cancel, name: name, limits: limits, next: next, meter: meter, sum: xxhash.New()}
}

// begin reads up to the content. An error before the first frame is the source's refusal as it came.
func (r *Reader) begin() error {
	frame, err := r.frame()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: nothing came", ErrIncomplete)
	}
	if err != nil {
		r.err = err
		return err
	}
	begin := frame.GetBegin()
	switch {
	case begin == nil:
		r.err = fmt.Errorf("%w: expected the begin first", ErrDisorder)
	case !r.name.answers(begin):
		r.err = fmt.Errorf("%w: expected %v, not %v", ErrWrong, r.name.ToProto(), begin.GetRequest())
	case begin.GetTotalBytes() > r.limits.Bytes:
		r.err = r.tooLarge()
	}
	r.meter.total.Store(max(begin.GetTotalBytes(), 0))
	return r.err
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 && r.err == nil {
		r.err = r.take()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// take reads the next chunk, or the end. If it cannot, after the stream broke, it says how that was.
func (r *Reader) take() error {
	err := r.step()
	if err == nil {
		r.breaks, r.broke = 0, nil
	} else if r.broke != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w; asked to go on: %w", r.broke, err)
	}
	return err
}

func (r *Reader) step() error {
	frame, err := r.frame()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w, after %d bytes", ErrIncomplete, r.bytes)
	}
	if err != nil {
		return err
	}
	switch f := frame.GetFrame().(type) {
	case *pb.StreamStateResponse_Chunk:
		return r.chunk(f.Chunk)
	case *pb.StreamStateResponse_End:
		return r.end(f.End)
	}
	return fmt.Errorf("%w: expected chunk %d or the end", ErrDisorder, r.chunks+1)
}

func (r *Reader) chunk(c *pb.StateChunk) error {
	size := len(c.GetContent())
	switch {
	case c.GetNumber() != r.chunks+1:
		return fmt.Errorf("%w: expected chunk %d, not %d", ErrDisorder, r.chunks+1, c.GetNumber())
	case size == 0 || size > MaxChunk:
		return fmt.Errorf("%w: expected a chunk of 1 to %d bytes, not %d", ErrDisorder, MaxChunk, size)
	case r.bytes > r.limits.Bytes-int64(size):
		return r.tooLarge()
	}
	_, _ = r.sum.Write(c.GetContent()) // never fails
	r.rest, r.chunks, r.bytes = c.GetContent(), r.chunks+1, r.bytes+int64(size)
	r.meter.received.Store(r.bytes)
	return nil
}

// end compares what was received with what was sent, and sees that nothing follows.
func (r *Reader) end(e *pb.StateEnd) error {
	if e.GetTotalBytes() > math.MaxInt64 || e.GetChunks() != r.chunks || int64(e.GetTotalBytes()) != r.bytes || e.GetChecksum() != r.sum.Sum64() {
		return fmt.Errorf("%w: it says %d chunks, %d bytes, checksum %016x; received were %d chunks, %d bytes, checksum %016x",
			ErrChecksum, e.GetChunks(), e.GetTotalBytes(), e.GetChecksum(), r.chunks, r.bytes, r.sum.Sum64())
	}
	r.reopen = nil // all is here
	switch _, err := r.frame(); {
	case err == nil:
		return fmt.Errorf("%w: expected nothing after the end", ErrDisorder)
	case !errors.Is(err, io.EOF):
		return err
	}
	return io.EOF
}

// frame waits for the next frame that is no wait, at most for the stall limit each. The watch stands only while it waits: an application
// that takes its time over a chunk is no stall of the stream.
func (r *Reader) frame() (*pb.StreamStateResponse, error) {
	for {
		unwatch := r.watch()
		frame, err := r.next()
		unwatch()
		if cause := context.Cause(r.ctx); cause != nil {
			return nil, fmt.Errorf("after %d bytes: %w", r.bytes, cause)
		}
		switch {
		case err != nil && r.goesOn(err):
		case err != nil:
			return nil, err
		case r.again && frame.GetBegin() != nil && r.name.answers(frame.GetBegin()):
			r.again = false
		case frame.GetWait() == nil:
			return frame, nil
		}
	}
}

// Breaks of connections: how many in a row are put up with, and the pause after the first, which doubles.
const (
	breaksMost = 5
	breakPause = 100 * time.Millisecond
)

// goesOn reports whether a stream that broke is asked for again, from where it broke.
func (r *Reader) goesOn(err error) bool {
	if _, said := wire.DetailOf(err); said || r.reopen == nil || r.chunks == 0 || r.breaks == breaksMost || connect.CodeOf(err) == connect.CodeUnimplemented {
		return false
	}
	pause := time.NewTimer(breakPause << r.breaks)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.ctx.Done():
		return false
	}
	if r.breaks++; errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w, after %d bytes", ErrIncomplete, r.bytes)
	}
	if r.broke == nil {
		r.broke = err
	}
	r.name.Received, r.again = r.chunks, true
	r.reopen(r.chunks)
	return true
}

// watch cancels whatever waits for the source, unless it is called off before the stall limit.
func (r *Reader) watch() (callOff func() bool) {
	bytes := r.bytes
	return time.AfterFunc(r.limits.Stall, func() {
		r.cancel(fmt.Errorf("%w: nothing came for %s, after %d bytes", ErrStalled, r.limits.Stall, bytes))
	}).Stop
}

func (r *Reader) tooLarge() error {
	return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, r.limits.Bytes)
}

// verdict says how the stream ended, once the application has read what it wanted: nil only if that was everything.
func (r *Reader) verdict() error {
	if r.err == nil && len(r.rest) == 0 {
		r.err = r.take() // whoever knows where the content ends need not have seen the end
	}
	switch {
	case r.err == nil || errors.Is(r.err, io.EOF) && len(r.rest) > 0:
		return ErrUnread
	case errors.Is(r.err, io.EOF):
		return nil
	}
	return r.err
}
