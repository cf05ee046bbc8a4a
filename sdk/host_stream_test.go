package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// A move under load: the snapshot goes while the source serves on, what changed since follows with the marker, and no request and no
// increment is lost.
func TestStreamedMove(t *testing.T) {
	ctx := testContext(t)
	const keys = 20_000
	a, b, source, target := streamPair(t, ctx, keys)
	var counted atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for worker := range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := send(ctx, a, "/count", testShard, fmt.Sprintf("worker-%d", worker))
				if err != nil || got.status != 200 {
					t.Errorf("%+v, %v", got, err)
					return
				}
				counted.Add(1)
			}
		})
	}
	more := func(n int64) { // lets the load go on for n requests
		for from := counted.Load(); counted.Load() < from+n && !t.Failed(); {
			runtime.Gosched()
		}
	}
	more(50)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	more(50)
	_, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
	must(t, err)
	must(t, b.AddShard(ctx, testShard, move))
	more(50)
	close(stop)
	load.Wait()
	must(t, a.DropShard(ctx, testShard, move))
	sum, got := int64(0), target.counters(testShard)
	for worker := range 4 {
		sum += int64(got[fmt.Sprintf("worker-%d", worker)])
	}
	if sum != counted.Load() || len(got) != keys+4 || got["key-019999"] != 19_999 {
		t.Errorf("%d of %d increments and %d of %d keys came along", sum, counted.Load(), len(got), keys+4)
	}
	if len(source.deltas) != 1 || source.deltas[0] == 0 || source.deltas[0]*100 > source.bulk {
		t.Errorf("deltas of %d bytes after a snapshot of %d", source.deltas, source.bulk)
	}
	wantSource := []string{"Activate 07@1", "AddShard 07@1", "StreamState 07@1", "StateDelta 07@1", "EndState 07@1", "DropShard 07@1"}
	if diff := cmp.Diff(wantSource, source.seen()); diff != "" {
		t.Errorf("source's callbacks (-want +got):\n%s", diff)
	}
	wantTarget := []string{"PrepareAddShard 07@2", "ReceiveState 07@2", fmt.Sprintf("Activate with 4 of %d 07@2", keys+4), "AddShard 07@2"}
	if diff := cmp.Diff(wantTarget, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}

// What the state that Activate gets means: an empty delta is a hand-over, nil is none.
func TestEmptyDeltaAndNone(t *testing.T) {
	ctx := testContext(t)
	a, b, _, target := streamPair(t, ctx, 3)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	_, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
	must(t, err)
	if calls := target.seen(); calls[len(calls)-1] != "Activate with 0 of 3 07@2" {
		t.Errorf("after an empty delta: %q", calls)
	}

	a, b, _, target = streamPair(t, ctx, 3)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	must(t, b.AddShard(ctx, testShard, move)) // the source died
	if calls := target.seen(); calls[len(calls)-2] != "Activate 07@2" || len(target.counters(testShard)) != 0 {
		t.Errorf("without a hand-over: %q, %d counters", calls, len(target.counters(testShard)))
	}
}

func begin(req *pb.StreamStateRequest, total int64) *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Begin{Begin: &pb.StateBegin{Request: req, TotalBytes: total}}}
}

func chunk(n uint64, content []byte) *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Chunk{Chunk: &pb.StateChunk{Number: n, Content: content}}}
}

func end(chunks, total, sum uint64) *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_End{End: &pb.StateEnd{Chunks: chunks, TotalBytes: total, Checksum: sum}}}
}

// Streams that go wrong: the step fails with a typed error that names what was wrong, the application keeps nothing, and the next
// attempt, from a source that behaves, succeeds.
func TestBadStreams(t *testing.T) {
	line := []byte(`{"Key":"a","Value":1}` + "\n")
	for name, c := range map[string]struct {
		stream func(ctx context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error
		want   string
	}{
		"stalls": {func(ctx context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			_ = send(chunk(1, line))
			<-ctx.Done()
			return ctx.Err()
		}, "the stream stalled: nothing came for 2s, after 22 bytes"},
		"says nothing at all": {func(ctx context.Context, _ *pb.StreamStateRequest, _ func(*pb.StreamStateResponse) error) error {
			<-ctx.Done()
			return ctx.Err()
		}, "the stream stalled"},
		"lies about its checksum": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			_ = send(chunk(1, line))
			return send(end(1, uint64(len(line)), 1))
		}, "the content is not what the source says it sent"},
		"never ends": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			for n := uint64(1); ; n++ {
				if err := send(chunk(n, line)); err != nil {
					return err
				}
			}
		}, "the stream is larger than allowed: more than 65536 bytes"},
		"ends early": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			return send(chunk(1, line))
		}, "the stream broke before its end"},
		"skips a chunk": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			return send(chunk(2, line))
		}, "the frames are out of order"},
		"is another": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			req.Command.Move++
			return send(begin(req, 0))
		}, "the stream is not the one asked for"},
		"is too large for a message": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			return send(chunk(1, make([]byte, 3<<20)))
		}, "resource_exhausted"},
		"fails": {func(_ context.Context, req *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
			_ = send(begin(req, 0))
			return connect.NewError(connect.CodeUnknown, errors.New("disk on fire"))
		}, "disk on fire"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			a, b, _, target := streamPair(t, ctx, 3, sdk.WithStateLimits(2*time.Second, 64<<10))
			err := prepareFrom(ctx, b, serveSource(t, &fakeSource{stream: c.stream}))
			detail, typed := wire.DetailOf(err)
			if !typed || detail.GetReason() != pb.ErrorReason_ERROR_REASON_STATE_STREAM || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(detail.GetSubject(), "shard 07 from fake.kv") {
				t.Errorf("%v, want %q in an error about the stream", err, c.want)
			}
			if kept := target.kept(); kept != nil {
				t.Errorf("the target keeps %v", kept)
			}
			must(t, prepareFrom(ctx, b, peerOf(a)))
			_, err = a.PrepareDropShard(ctx, testShard, move, b, 0)
			must(t, err)
			if got := target.counters(testShard); len(got) != 3 {
				t.Errorf("the attempt after it brought %v", got)
			}
		})
	}
}

// The deadline of the step bounds a stream too, and is named.
func TestStreamDeadline(t *testing.T) {
	ctx := testContext(t)
	a, b, source, _ := streamPair(t, ctx, 3)
	source.hold()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := b.PrepareAddShard(short, testShard, move, a); err == nil {
		t.Error("PrepareAddShard outlasted its deadline")
	}
	source.waitCalls(t, "EndState 07@1", 1)
}

// A source that only ever says that it waits is no stall: the deadline of the step ends it, and the next attempt succeeds.
func TestSourceWaitsForEver(t *testing.T) {
	ctx := testContext(t)
	a, b, _, target := streamPair(t, ctx, 3, sdk.WithStateLimits(2*time.Second, 64<<10))
	given := make(chan error, 1)
	source := serveSource(t, &fakeSource{stream: func(ctx context.Context, _ *pb.StreamStateRequest, send func(*pb.StreamStateResponse) error) error {
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for {
			if err := send(&pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Wait{Wait: &pb.StateWait{}}}); err != nil {
				given <- err
				return err
			}
			select {
			case <-ctx.Done():
				given <- ctx.Err()
				return ctx.Err()
			case <-pace.C:
			}
		}
	}})
	short, cancel := context.WithTimeout(ctx, 3*time.Second) // beyond the limit for stalls
	defer cancel()
	if err := prepareFrom(short, b, source); err == nil || strings.Contains(err.Error(), "stalled") {
		t.Errorf("%v, want the deadline", err)
	}
	select {
	case <-given:
	case <-ctx.Done():
		t.Fatal("the source is asked for ever")
	}
	if kept := target.kept(); kept != nil {
		t.Errorf("the target keeps %v", kept)
	}
	must(t, prepareFrom(ctx, b, peerOf(a)))
}

// cutProxy passes connections on to address. It cuts the first one after so many bytes of answer, and further ones at once, until it is mended.
func cutProxy(t *testing.T, address string, after int64) (through string, mend func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var mended atomic.Bool
	go func() {
		for ; ; after = 0 {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func(passes int64) {
				if mended.Load() {
					passes = math.MaxInt64
				}
				_, _ = io.CopyN(in, out, passes)
				_, _ = in.Close(), out.Close()
			}(after)
		}
	}()
	return listener.Addr().String(), func() { mended.Store(true) }
}

// A connection that breaks in the middle, and cannot be made again, costs an attempt.
func TestBrokenStreamIsRepeated(t *testing.T) {
	ctx := testContext(t)
	a, b, source, target := streamPair(t, ctx, 50_000) // more than a megabyte
	through := peerOf(a)
	proxy, mend := cutProxy(t, a.Address, 700_000)
	through.DataAddress = proxy
	err := prepareFrom(ctx, b, through)
	if detail, _ := wire.DetailOf(err); detail.GetReason() != pb.ErrorReason_ERROR_REASON_STATE_STREAM {
		t.Errorf("through a connection that breaks: %v", err)
	}
	source.set("late", 1) // before the snapshot that counts
	mend()
	must(t, prepareFrom(ctx, b, through))
	source.set("later", 2)
	_, err = a.PrepareDropShard(ctx, testShard, move, b, 0)
	must(t, err)
	if got := target.counters(testShard); len(got) != 50_002 || got["late"] != 1 || got["later"] != 2 {
		t.Errorf("%d counters, late %d, later %d", len(got), got["late"], got["later"])
	}
	source.waitCalls(t, "EndState 07@1", 2)
	if source.deltas[0] > 100 {
		t.Errorf("a delta of %d bytes, want only what came after the second snapshot", source.deltas[0])
	}
}

// inBackground prepares b and answers how that went.
func inBackground(ctx context.Context, a, b *sdktest.Server) <-chan error {
	prepared := make(chan error, 1)
	go func() { prepared <- b.PrepareAddShard(ctx, testShard, move, a) }()
	return prepared
}

// A source that is fenced in the middle stops sending at once, and drops the shard only after the application's callback has returned.
func TestSourceFencedInTheMiddle(t *testing.T) {
	ctx := testContext(t)
	a, b, source, target := streamPair(t, ctx, 3)
	holding := source.hold()
	prepared := inBackground(ctx, a, b)
	<-holding
	a.Agent.EndIncarnation()
	// The source says that its incarnation ended, or its snapshot has heard of that first.
	if err := <-prepared; err == nil || !strings.Contains(err.Error(), "incarnation") && !strings.Contains(err.Error(), "not wanted any more") {
		t.Errorf("PrepareAddShard from a fenced source: %v", err)
	}
	if kept := target.kept(); kept != nil {
		t.Errorf("the target keeps %v", kept)
	}
	source.waitCalls(t, "DropShard 07@1", 1)
	want := []string{"Activate 07@1", "AddShard 07@1", "StreamState 07@1", "EndState 07@1", "DropShard 07@1"}
	if diff := cmp.Diff(want, source.seen()); diff != "" {
		t.Errorf("source's callbacks (-want +got):\n%s", diff)
	}
}

// A target that is told to drop the shard in the middle does so at once: it does not wait for the rest of the state.
func TestTargetDroppedInTheMiddle(t *testing.T) {
	ctx := testContext(t)
	a, b, source, target := streamPair(t, ctx, 3)
	holding := source.hold()
	prepared := inBackground(ctx, a, b)
	<-holding
	target.waitCalls(t, "ReceiveState 07@2", 1)
	must(t, b.DropShard(ctx, testShard, sdktest.Order{Term: 2, Move: 3}))
	if err := <-prepared; err == nil || !strings.Contains(err.Error(), "newer decision") {
		t.Errorf("PrepareAddShard of a shard that was dropped meanwhile: %v", err)
	}
	source.waitCalls(t, "EndState 07@1", 1)
	count(t, ctx, a, "1")
	if diff := cmp.Diff([]string{"PrepareAddShard 07@2", "ReceiveState 07@2", "DropShard 07@0"}, target.seen()); diff != "" {
		t.Errorf("target's callbacks (-want +got):\n%s", diff)
	}
}

// A move that is called off ends the snapshot: nothing is noted for it any more, and no hand-over follows.
func TestSnapshotOfACancelledMove(t *testing.T) {
	ctx := testContext(t)
	a, b, source, _ := streamPair(t, ctx, 3)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	begun, err := a.CancelMove(ctx, testShard, move)
	if err != nil || begun {
		t.Fatalf("CancelMove: %v, %v", begun, err)
	}
	source.waitCalls(t, "EndState 07@1", 1)
	if err := b.PrepareAddShard(ctx, testShard, sdktest.Order{Term: 2, Move: 4}, a); err != nil {
		t.Errorf("the next move: %v", err)
	}
	_, err = hostClient(b).PrepareAddShard(ctx, &pb.PrepareAddShardRequest{Command: commandTo(b, sdktest.Order{Term: 2, Move: 5}), From: peerOf(a)})
	must(t, err)
	if _, err := a.PrepareDropShard(ctx, testShard, sdktest.Order{Term: 2, Move: 5}, b, 0); err != nil {
		t.Errorf("its hand-over: %v", err)
	}
}

// A hand-over that does not fit what the target received is refused: the application would take the one for the other.
func TestDeltaNeedsItsSnapshot(t *testing.T) {
	ctx := testContext(t)
	a, b, _, target := streamPair(t, ctx, 3)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	for _, base := range []uint64{0, 7} {
		stream, err := hostClient(b).TransferState(ctx)
		must(t, err)
		_ = stream.Send(&pb.TransferStateRequest{
			Command: commandTo(b, move), From: a.Name, FromIncarnation: a.Agent.Incarnation(), BaseAttempt: base, Marker: true,
		})
		if _, err := stream.CloseAndReceive(); !sdktest.IsStale(err) || !strings.Contains(err.Error(), "base_attempt") {
			t.Errorf("a delta to attempt %d: %v", base, err)
		}
	}
	if calls := target.seen(); calls[len(calls)-1] != "ReceiveState 07@2" {
		t.Errorf("%q", calls)
	}
}

// While only one of two servers streams, moves carry the last state as before.
func TestStreamsAreOptional(t *testing.T) {
	for name, c := range map[string]struct{ source, target sdk.Handler }{
		"the source does not stream":  {newApp(), newStreamApp()},
		"the target does not receive": {newStreamApp(), &blob{}},
	} {
		ctx := testContext(t)
		cluster := sdktest.NewCluster(t, "kv")
		a, b := cluster.Start("a", c.source, nil), cluster.Start("b", c.target, nil)
		must(t, cluster.Grant(ctx, testShard, a))
		must(t, cluster.Move(ctx, testShard, b))
		var seen string
		if s, ok := c.source.(*streamApp); ok {
			seen = strings.Join(s.seen(), " ")
		} else {
			seen = strings.Join(c.source.(*app).seen(), " ")
		}
		if !strings.Contains(seen, "LastState") || strings.Contains(seen, "StreamState") {
			t.Errorf("%s: %s", name, seen)
		}
	}
}

// Half of what is needed is refused when the Host is made.
func TestStreamCallbacksNeedOthers(t *testing.T) {
	full := newStreamApp()
	for want, handler := range map[string]sdk.Handler{
		"no LastState": struct {
			sdk.Handler
			sdk.Activator
			streamOnly
		}{full, full, full},
		"no Activate": struct {
			sdk.Handler
			receiveOnly
		}{full, full},
	} {
		if _, err := sdk.NewHost("kv", handler, sdk.WithDataAddress("127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

type streamOnly interface {
	StreamState(ctx context.Context, s sdk.Shard, to sdk.Peer, w io.Writer) error
	StateDelta(ctx context.Context, s sdk.Shard, to sdk.Peer) ([]byte, error)
	EndState(s sdk.Shard, to sdk.Peer)
}

type receiveOnly interface {
	ReceiveState(ctx context.Context, s sdk.Shard, from sdk.Peer, r io.Reader) error
}

// Who gets a stream: a server that prepares the shard under a decision at the primary's term or later, and only from the primary.
func TestWhoGetsAStream(t *testing.T) {
	ctx := testContext(t)
	a, b, _, _ := streamPair(t, ctx, 3)
	must(t, a.AddShard(ctx, testShard, sdktest.Order{Term: 5, Move: 5}))
	ask := func(s *sdktest.Server, change func(*pb.StreamStateRequest)) error {
		req := &pb.StreamStateRequest{Command: commandTo(s, sdktest.Order{Term: 6, Move: 6}), To: &pb.Peer{Server: "c.kv", Incarnation: 3}, Attempt: 1}
		change(req)
		stream, err := hostClient(s).StreamState(ctx, req)
		must(t, err)
		defer func() { _ = stream.Close() }()
		for stream.Receive() {
		}
		return stream.Err()
	}
	for name, c := range map[string]struct {
		at     *sdktest.Server
		change func(*pb.StreamStateRequest)
		reason pb.ErrorReason
	}{
		"a move away":            {a, func(*pb.StreamStateRequest) {}, 0},
		"a replica at its term":  {a, func(r *pb.StreamStateRequest) { r.Command.Term, r.Command.Move, r.To.Incarnation = 5, 1, 4 }, 0},
		"an older term":          {a, func(r *pb.StreamStateRequest) { r.Command.Term = 4 }, pb.ErrorReason_ERROR_REASON_STALE},
		"another incarnation":    {a, func(r *pb.StreamStateRequest) { r.Command.Incarnation += 7 }, pb.ErrorReason_ERROR_REASON_STALE},
		"another app":            {a, func(r *pb.StreamStateRequest) { r.Command.App = "vk" }, pb.ErrorReason_ERROR_REASON_INVALID},
		"another shard":          {a, func(r *pb.StreamStateRequest) { r.Command.Shard = "08" }, pb.ErrorReason_ERROR_REASON_STALE},
		"no attempt":             {a, func(r *pb.StreamStateRequest) { r.Attempt = 0 }, pb.ErrorReason_ERROR_REASON_INVALID},
		"nobody":                 {a, func(r *pb.StreamStateRequest) { r.To = nil }, pb.ErrorReason_ERROR_REASON_INVALID},
		"from who is no primary": {b, func(*pb.StreamStateRequest) {}, pb.ErrorReason_ERROR_REASON_STALE},
	} {
		err := ask(c.at, c.change)
		detail, _ := wire.DetailOf(err)
		if detail.GetReason() != c.reason || (err == nil) != (c.reason == 0) {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
	if _, err := a.CancelMove(ctx, testShard, sdktest.Order{Term: 6, Move: 7}); err != nil {
		t.Fatal(err)
	}
	if err := ask(a, func(*pb.StreamStateRequest) {}); !sdktest.IsStale(err) {
		t.Errorf("a move that was called off: %v", err)
	}
}

// Without a lease nothing is sent.
func TestNoStreamWithoutLease(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	source, target := newStreamApp(), newStreamApp()
	a, b := cluster.StartWithoutLease("a", source, nil), cluster.Start("b", target, nil)
	must(t, cluster.Grant(ctx, testShard, a))
	if err := b.PrepareAddShard(ctx, testShard, move, a); err == nil || !strings.Contains(err.Error(), "lease") {
		t.Errorf("a stream from a primary without a lease: %v", err)
	}
	a.Agent.SetLease(sdktest.DefaultLease)
	must(t, a.Agent.WaitReady(ctx))
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
}

// A receiver that reads nothing is given up by the source, whose place and notes are free again.
func TestReceiverStalls(t *testing.T) {
	ctx := testContext(t)
	a, _, source, _ := streamPair(t, ctx, 3, sdk.WithStateLimits(2*time.Second, 1<<30), sdk.WithStateStreams(1, 0))
	failed := make(chan error, 1)
	source.mu.Lock()
	source.during = func(_ context.Context, w io.Writer) error {
		for range 1024 { // more than any buffers hold
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				failed <- err
				return err
			}
		}
		return nil
	}
	source.mu.Unlock()
	client := shardmanagerv1connect.NewShardHostServiceClient(http.DefaultClient, "http://"+a.Address, connect.WithAcceptCompression("gzip", nil, nil))
	stream, err := client.StreamState(ctx, &pb.StreamStateRequest{
		Command: commandTo(a, move), To: &pb.Peer{Server: "c.kv", Incarnation: 3}, Attempt: 1,
	})
	must(t, err)
	defer func() { _ = stream.Close() }()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	select {
	case err := <-failed:
		if !strings.Contains(err.Error(), "the receiver took nothing for 2s") {
			t.Errorf("%v", err)
		}
	case <-ctx.Done():
		t.Fatal("the source goes on for ever")
	}
	source.waitCalls(t, "EndState 07@1", 1)
}

// zeros is a state of so many bytes that nobody ever has in memory.
type zeros struct {
	*blob
	size     int64
	received int64
	most     uint64
}

func (z *zeros) StreamState(_ context.Context, _ sdk.Shard, _ sdk.Peer, w io.Writer) error {
	part := make([]byte, 100_000)
	for left := z.size; left > 0; {
		n, err := w.Write(part[:min(left, int64(len(part)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
func (*zeros) StateDelta(context.Context, sdk.Shard, sdk.Peer) ([]byte, error) { return nil, nil }
func (*zeros) EndState(sdk.Shard, sdk.Peer)                                    {}
func (z *zeros) ReceiveState(_ context.Context, _ sdk.Shard, _ sdk.Peer, r io.Reader) error {
	part := make([]byte, 100_000)
	for looked := int64(0); ; {
		n, err := r.Read(part)
		if z.received += int64(n); z.received-looked > 8<<20 {
			looked = z.received
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			z.most = max(z.most, memory.HeapAlloc)
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// 200 MiB go through without anybody having more than a few chunks of them.
func TestLargeStreamIsNotBuffered(t *testing.T) {
	ctx := testContext(t)
	cluster := sdktest.NewCluster(t, "kv")
	source, target := &zeros{blob: &blob{}, size: 200 << 20}, &zeros{blob: &blob{}}
	a, b := cluster.Start("a", source, nil), cluster.Start("b", target, nil)
	must(t, cluster.Grant(ctx, testShard, a))
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	must(t, b.PrepareAddShard(ctx, testShard, move, a))
	if target.received != source.size {
		t.Errorf("%d bytes received, want %d", target.received, source.size)
	}
	if grown := int64(target.most) - int64(before.HeapAlloc); target.most == 0 || grown > 50<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// What is on its way is told to the agent with each pull of the lease.
func TestStreamProgressReachesTheAgent(t *testing.T) {
	ctx := testContext(t)
	a, b, source, _ := streamPair(t, ctx, 1000)
	source.hold()
	source.mu.Lock()
	hold := source.during
	source.during = func(ctx context.Context, w io.Writer) error {
		if _, err := w.Write(bytes.Repeat([]byte(`{"Key":"a","Value":1}`+"\n"), 20_000)); err != nil { // at least one chunk leaves
			return err
		}
		return hold(ctx, w)
	}
	source.mu.Unlock()
	prepared := inBackground(ctx, a, b)
	got, err := b.Agent.WaitTransfer(ctx, testShard, 1)
	must(t, err)
	if got.GetTerm() != 2 || got.GetMove() != 2 || got.GetTotalBytes() != int64(source.bulk) || got.GetReceivedBytes() < 1 {
		t.Errorf("%v, of %d bytes", got, source.bulk)
	}
	must(t, b.DropShard(ctx, testShard, sdktest.Order{Term: 2, Move: 3}))
	<-prepared
	if _, err := b.Agent.WaitTransfer(ctx, testShard, -1); err != nil {
		t.Errorf("it goes on: %v", err)
	}
}
