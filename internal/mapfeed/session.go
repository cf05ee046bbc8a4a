package mapfeed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// errSilent ends a stream that said nothing for too long.
var errSilent = errors.New("silent")

// session is one Watch stream that has answered.
type session struct {
	at      int // position of its address
	stream  *connect.ServerStreamForClient[pb.WatchResponse]
	first   *pb.WatchResponse
	cancel  context.CancelCauseFunc
	release context.CancelFunc // of the context around ctx; nil: none
	ctx     context.Context
	silence *time.Timer
	limit   time.Duration
	heard   atomic.Pointer[time.Time] // when what it says was up to date
}

// open asks the hub at an address and waits for its first message.
func (f *Follower) open(ctx context.Context, at int) (*session, error) {
	s := &session{at: at, limit: f.cfg.Silence}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.silence = time.AfterFunc(s.limit, func() { s.cancel(errSilent) })
	request := &pb.WatchRequest{App: string(f.cfg.App), Cluster: f.cfg.Cluster}
	if m := f.current.Load(); m != nil && !f.resync.Load() {
		request.Resume = wire.VersionToProto(m.Version)
	}
	endpoint := f.endpoints[at]
	client := shardmanagerv1connect.NewShardMapServiceClient(endpoint.Client, endpoint.URL,
		connect.WithAcceptCompression("gzip", nil, nil), // a hub encodes once for all; compressing for each would undo that
		connect.WithReadMaxBytes(wire.MaxDecoded))
	var err error
	if s.stream, err = client.Watch(s.ctx, request); err == nil {
		now := time.Now() // of a hub that does not say how old its map is
		s.heard.Store(&now)
		s.first, err = s.receive()
	}
	if err != nil {
		err = s.cause(err)
		s.close()
		return nil, fmt.Errorf("follow map of %s: %s: %w", f.cfg.App, f.cfg.Addresses[at], err)
	}
	return s, nil
}

// receive returns the next message. The time the caller takes between two calls is not silence.
func (s *session) receive() (*pb.WatchResponse, error) {
	s.silence.Reset(s.limit)
	ok := s.stream.Receive()
	s.silence.Stop()
	if ok {
		s.hear(s.stream.Msg())
		return s.stream.Msg(), nil
	}
	return nil, s.cause(s.stream.Err())
}

// hear notes what a message says of its hub: a change comes from the leader just now.
func (s *session) hear(response *pb.WatchResponse) {
	at := time.Now()
	switch m := response.GetMessage().(type) {
	case *pb.WatchResponse_KeepAlive:
		at = at.Add(-time.Duration(min(m.KeepAlive.GetBehindMs(), uint64(neverHeard.Milliseconds()))) * time.Millisecond)
	case *pb.WatchResponse_Delta:
	default:
		return
	}
	s.heard.Store(&at)
}

// behind is for how long the hub has not heard of the leader.
func (s *session) behind() time.Duration { return time.Since(*s.heard.Load()) }

// cause prefers the reason why the stream was cancelled over the cancellation.
func (s *session) cause(err error) error {
	if errors.Is(context.Cause(s.ctx), errSilent) {
		return fmt.Errorf("%w for %s", errSilent, s.limit)
	}
	if err == nil {
		return io.EOF
	}
	return err
}

// close ends the stream; it may be called from any goroutine and more than once.
func (s *session) close() {
	s.silence.Stop()
	s.cancel(context.Canceled)
	if s.release != nil {
		s.release()
	}
}
