package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

var testName = Name{
	App: "kv", Shard: "07", Order: shard.Order{Term: 2, Move: 2}, Attempt: 1,
	Source: shard.Peer{Server: "a.kv", Incarnation: 11}, Target: shard.Peer{Server: "b.kv", Incarnation: 22},
}

func begin(total int64) *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Begin{Begin: &pb.StateBegin{Request: testName.ToProto(), TotalBytes: total}}}
}

func chunk(number uint64, content string) *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Chunk{Chunk: &pb.StateChunk{Number: number, Content: []byte(content)}}}
}

func end(chunks, total, checksum uint64) *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_End{End: &pb.StateEnd{Chunks: chunks, TotalBytes: total, Checksum: checksum}}}
}

func wait() *pb.StreamStateResponse {
	return &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Wait{Wait: &pb.StateWait{}}}
}

// XXH64, seed 0, of "hello", from the algorithm's reference implementation.
const helloSum = 0x26c7827d889f6da3

// read plays frames to a reader.
func read(ctx context.Context, limits Limits, frames ...*pb.StreamStateResponse) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	r := newReader(ctx, cancel, testName, limits, &Meter{}, func() (*pb.StreamStateResponse, error) {
		if len(frames) == 0 {
			return nil, io.EOF
		}
		next := frames[0]
		frames = frames[1:]
		return next, nil
	})
	if err := r.begin(); err != nil {
		return "", err
	}
	content, err := io.ReadAll(r)
	if verdict := r.verdict(); (err == nil) != (verdict == nil) {
		err = fmt.Errorf("read to the end with %v, but the verdict is %v", err, verdict)
	}
	return string(content), err
}

func TestReader(t *testing.T) {
	limits := Limits{Stall: time.Minute, Bytes: 10}
	other := testName
	other.Order.Move++
	wrong := &pb.StreamStateResponse{Frame: &pb.StreamStateResponse_Begin{Begin: &pb.StateBegin{Request: other.ToProto()}}}
	for name, c := range map[string]struct {
		frames []*pb.StreamStateResponse
		want   string
		err    error
	}{
		"whole":               {[]*pb.StreamStateResponse{wait(), begin(5), chunk(1, "hel"), wait(), chunk(2, "lo"), end(2, 5, helloSum)}, "hello", nil},
		"empty":               {[]*pb.StreamStateResponse{begin(0), end(0, 0, 0xef46db3751d8e999)}, "", nil},
		"nothing":             {nil, "", ErrIncomplete},
		"only waits":          {[]*pb.StreamStateResponse{wait(), wait()}, "", ErrIncomplete},
		"no begin":            {[]*pb.StreamStateResponse{chunk(1, "hello"), end(1, 5, helloSum)}, "", ErrDisorder},
		"another stream":      {[]*pb.StreamStateResponse{wrong}, "", ErrWrong},
		"two begins":          {[]*pb.StreamStateResponse{begin(0), begin(0)}, "", ErrDisorder},
		"no end":              {[]*pb.StreamStateResponse{begin(0), chunk(1, "hello")}, "hello", ErrIncomplete},
		"chunk missing":       {[]*pb.StreamStateResponse{begin(0), chunk(1, "he"), chunk(3, "llo"), end(2, 5, helloSum)}, "he", ErrDisorder},
		"chunk twice":         {[]*pb.StreamStateResponse{begin(0), chunk(1, "he"), chunk(1, "he")}, "he", ErrDisorder},
		"empty chunk":         {[]*pb.StreamStateResponse{begin(0), chunk(1, "")}, "", ErrDisorder},
		"large chunk":         {[]*pb.StreamStateResponse{begin(0), chunk(1, strings.Repeat("x", MaxChunk+1))}, "", ErrDisorder},
		"no frame":            {[]*pb.StreamStateResponse{begin(0), {}}, "", ErrDisorder},
		"lies: checksum":      {[]*pb.StreamStateResponse{begin(0), chunk(1, "hello"), end(1, 5, helloSum+1)}, "hello", ErrChecksum},
		"lies: content":       {[]*pb.StreamStateResponse{begin(0), chunk(1, "hallo"), end(1, 5, helloSum)}, "hallo", ErrChecksum},
		"lies: bytes":         {[]*pb.StreamStateResponse{begin(0), chunk(1, "hello"), end(1, 6, helloSum)}, "hello", ErrChecksum},
		"lies: chunks":        {[]*pb.StreamStateResponse{begin(0), chunk(1, "hello"), end(2, 5, helloSum)}, "hello", ErrChecksum},
		"goes on after end":   {[]*pb.StreamStateResponse{begin(0), chunk(1, "hello"), end(1, 5, helloSum), chunk(2, "x")}, "hello", ErrDisorder},
		"announces too much":  {[]*pb.StreamStateResponse{begin(11)}, "", ErrTooLarge},
		"brings too much":     {[]*pb.StreamStateResponse{begin(5), chunk(1, "0123456789"), chunk(2, "x")}, "0123456789", ErrTooLarge},
		"never ends, bounded": {append([]*pb.StreamStateResponse{begin(0)}, endless(100)...), "0123456789", ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t.Context(), limits, c.frames...)
			if got != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("read %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func endless(n int) []*pb.StreamStateResponse {
	var frames []*pb.StreamStateResponse
	for i := range n {
		frames = append(frames, chunk(uint64(i+1), string(rune('0'+i%10))))
	}
	return frames
}

// Whoever knows where the content ends need not read the end, but may leave nothing.
func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		read int
		want error
	}{"all content": {5, nil}, "a part of a chunk": {3, ErrUnread}, "a chunk": {2, ErrUnread}, "nothing": {0, ErrUnread}} {
		frames := []*pb.StreamStateResponse{begin(0), chunk(1, "he"), chunk(2, "llo"), end(2, 5, helloSum)}
		ctx, cancel := context.WithCancelCause(t.Context())
		r := newReader(ctx, cancel, testName, Limits{Stall: time.Minute, Bytes: 10}, &Meter{}, func() (*pb.StreamStateResponse, error) {
			if len(frames) == 0 {
				return nil, io.EOF
			}
			next := frames[0]
			frames = frames[1:]
			return next, nil
		})
		if err := r.begin(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, c.read)); err != nil {
			t.Fatal(err)
		}
		if err := r.verdict(); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		cancel(nil)
	}
}

// FuzzReader: whatever comes, the content has its end only if it is what the frames say, and never more than allowed.
func FuzzReader(f *testing.F) {
	encode := func(frames ...*pb.StreamStateResponse) []byte {
		var all []byte
		for _, frame := range frames {
			one, err := proto.Marshal(frame)
			if err != nil {
				f.Fatal(err)
			}
			all = append(append(all, byte(len(one))), one...)
		}
		return all
	}
	f.Add(encode(begin(5), chunk(1, "hel"), wait(), chunk(2, "lo"), end(2, 5, helloSum)))
	f.Add(encode(begin(0), end(0, 0, 0xef46db3751d8e999)))
	f.Add(encode(begin(5), chunk(1, "hello"), end(1, 5, helloSum), wait()))
	f.Add(encode(chunk(1, "hello"), end(1, 1<<63, helloSum)))
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		var frames, chunks []*pb.StreamStateResponse
		for len(input) > 0 {
			n := min(int(input[0]), len(input)-1)
			frame := &pb.StreamStateResponse{}
			if proto.Unmarshal(input[1:1+n], frame) == nil {
				frames = append(frames, frame)
			}
			input = input[1+n:]
		}
		const most = 100
		got, err := read(t.Context(), Limits{Stall: time.Minute, Bytes: most}, frames...)
		if len(got) > most {
			t.Fatalf("%d bytes, %d are allowed", len(got), most)
		}
		if err != nil {
			return
		}
		var want []byte // the slow and simple way
		for _, frame := range frames {
			if frame.GetChunk() != nil {
				chunks = append(chunks, frame)
				want = append(want, frame.GetChunk().GetContent()...)
			}
		}
		last := frames[len(frames)-1]
		for last.GetWait() != nil {
			frames = frames[:len(frames)-1]
			last = frames[len(frames)-1]
		}
		if got != string(want) || last.GetEnd() == nil || last.GetEnd().GetChunks() != uint64(len(chunks)) || last.GetEnd().GetTotalBytes() != uint64(len(want)) {
			t.Fatalf("%q was taken for a whole stream: %v", got, frames)
		}
	})
}

// play sends with send and reads with a Reader, through nothing but a channel.
func play(ctx context.Context, v *Valve, o *Outbox, n Name, stall time.Duration, write func(context.Context, io.Writer) error) (got []byte, sent, received error) {
	frames, done := make(chan *pb.StreamStateResponse), make(chan struct{})
	go func() {
		defer close(done)
		defer close(frames)
		sent = Serve(ctx, n, Source{
			Valve: v, Outbox: o, Stall: stall, Allowed: func() error { return nil }, Size: func() int64 { return 0 }, End: func() {}, Write: write,
		}, func(f *pb.StreamStateResponse) error {
			select {
			case frames <- proto.CloneOf(f):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	readCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := newReader(readCtx, cancel, n, Limits{Stall: stall, Bytes: 1 << 40}, &Meter{}, func() (*pb.StreamStateResponse, error) {
		select {
		case f, more := <-frames:
			if !more {
				return nil, io.EOF
			}
			return f, nil
		case <-readCtx.Done():
			return nil, readCtx.Err()
		}
	})
	received = r.begin()
	if received == nil {
		got, received = io.ReadAll(r)
	}
	for received != nil {
		if _, more := <-frames; !more {
			break
		}
	}
	<-done
	return got, sent, received
}

func TestWritesOfAnySize(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 3*chunkMost+17)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	for _, size := range []int{1000, chunkMost - 1, chunkMost, chunkMost + 1, len(content)} {
		got, sent, received := play(t.Context(), NewValve(1, 0), &Outbox{}, testName, time.Minute, func(_ context.Context, w io.Writer) error {
			for rest := content; len(rest) > 0; {
				n, err := w.Write(rest[:min(size, len(rest))])
				if err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		})
		if sent != nil || received != nil || !bytes.Equal(got, content) {
			t.Errorf("writes of %d bytes: %d bytes, %v, %v; want the %d that were written", size, len(got), sent, received, len(content))
		}
	}
}

// Two streams share the rate evenly, in virtual time, and one alone has all of it. Waiting for the rate is no stall.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, size = 100 << 10, 1 << 20
		begun := time.Now()
		v := NewValve(2, rate)
		write := func(_ context.Context, w io.Writer) error {
			_, err := w.Write(make([]byte, size))
			return err
		}
		times := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				_, sent, received := play(t.Context(), v, &Outbox{}, testName, 2*time.Second, write)
				if sent != nil || received != nil {
					t.Errorf("%v, %v", sent, received)
				}
				times <- time.Since(begun)
			}()
		}
		both := time.Duration(2*size) * time.Second / rate
		first, second := <-times, <-times
		if first < both*9/10 || second < first || second > both*11/10 {
			t.Errorf("the streams took %s and %s, want both about %s", first, second, both)
		}
		begun = time.Now()
		if _, sent, received := play(t.Context(), v, &Outbox{}, testName, 2*time.Second, write); sent != nil || received != nil {
			t.Errorf("%v, %v", sent, received)
		}
		if alone := time.Since(begun); alone < both/2*9/10 || alone > both/2*11/10 {
			t.Errorf("one alone took %s, want about %s", alone, both/2)
		}
	})
}

// A rate so low that one chunk takes longer than the stall limit: waits go out meanwhile.
func TestSlowRateIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, sent, received := play(t.Context(), NewValve(1, 1<<10), &Outbox{}, testName, 2*time.Second, func(_ context.Context, w io.Writer) error {
			_, err := w.Write(make([]byte, 20<<10))
			return err
		})
		if sent != nil || received != nil || len(got) != 20<<10 {
			t.Errorf("%d bytes, %v, %v", len(got), sent, received)
		}
	})
}

// Streams beyond the number allowed wait their turn, and say so; what waits is bounded too.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewValve(1, 0)
		release := make(chan struct{})
		running := 0
		write := func(_ context.Context, w io.Writer) error {
			if running++; running > 1 {
				t.Error("two streams at once, one is allowed")
			}
			defer func() { running-- }()
			_, _ = w.Write([]byte("x"))
			<-release
			return nil
		}
		results := make(chan error, waitingMost+1)
		for range waitingMost + 1 {
			go func() {
				got, sent, received := play(t.Context(), v, &Outbox{}, testName, 3*time.Minute, write)
				if len(got) != 1 {
					t.Errorf("%q", got)
				}
				results <- errors.Join(sent, received)
			}()
		}
		synctest.Wait()
		if _, sent, _ := play(t.Context(), v, &Outbox{}, testName, 3*time.Minute, write); !errors.Is(sent, ErrBusy) {
			t.Errorf("one beyond %d that wait: %v, want %v", waitingMost, sent, ErrBusy)
		}
		time.Sleep(time.Minute)
		close(release)
		for range waitingMost + 1 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, _, received := play(t.Context(), NewValve(1, 0), &Outbox{}, testName, 10*time.Second, func(ctx context.Context, w io.Writer) error {
			_, err := w.Write(make([]byte, chunkMost))
			time.Sleep(time.Minute)
			return err
		})
		if !errors.Is(received, ErrStalled) || !strings.Contains(received.Error(), "10s, after 262144 bytes") {
			t.Errorf("%v, want the stall, named", received)
		}
		if took := time.Since(begun); took < 10*time.Second {
			t.Errorf("given up after %s", took)
		}
	})
}

// ending counts the ends of snapshots.
type ending struct{ ends []uint64 }

// give runs one attempt through an outbox.
func (e *ending) give(t *testing.T, o *Outbox, n Name, write func(context.Context, io.Writer) error) error {
	t.Helper()
	return Serve(t.Context(), n, Source{
		Valve: NewValve(1, 0), Outbox: o, Stall: time.Minute, Allowed: func() error { return nil }, Size: func() int64 { return 0 }, Write: write,
		End: func() { e.ends = append(e.ends, n.Attempt) },
	}, func(*pb.StreamStateResponse) error { return nil })
}

func all(_ context.Context, w io.Writer) error {
	_, err := w.Write([]byte("hello"))
	return err
}

func TestOutbox(t *testing.T) {
	broken := errors.New("broken")
	attempt := func(n uint64) Name {
		name := testName
		name.Attempt = n
		return name
	}
	synctest.Test(t, func(t *testing.T) {
		o, e := &Outbox{}, &ending{}
		want := func(what string, base uint64, wrong bool, ends ...uint64) {
			t.Helper()
			synctest.Wait() // for what a timer began
			got, err := o.Base(testName.Target, testName.Order)
			have := uint64(0)
			if got != nil {
				have = got.Attempt()
			}
			if have != base || (err != nil) != wrong {
				t.Errorf("%s: base %d, %v, want %d, an error: %t", what, have, err, base, wrong)
			}
			if diff := cmp.Diff(ends, e.ends); diff != "" {
				t.Errorf("%s: ends (-want +got):\n%s", what, diff)
			}
		}
		want("nothing yet", 0, false)
		if err := e.give(t, o, attempt(3), func(context.Context, io.Writer) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%v, want %v", err, broken)
		}
		want("a failed attempt", 0, true, 3)
		if err := e.give(t, o, attempt(4), all); err != nil {
			t.Error(err)
		}
		want("a whole one", 4, false, 3)
		for _, late := range []uint64{2, 4} {
			if err := e.give(t, o, attempt(late), all); !errors.Is(err, ErrOldAttempt) {
				t.Errorf("attempt %d after 4: %v", late, err)
			}
		}
		want("late ones do no harm", 4, false, 3)
		if err := e.give(t, o, attempt(5), all); err != nil {
			t.Error(err)
		}
		want("a newer one", 5, false, 3, 4)
		other := attempt(1)
		other.Target.Incarnation++
		if err := e.give(t, o, other, all); err != nil {
			t.Error(err)
		}
		if err := o.Drop(t.Context(), func(target shard.Peer, _ shard.Order) bool { return target.Incarnation == testName.Target.Incarnation }); err != nil {
			t.Error(err)
		}
		want("others dropped", 5, false, 3, 4, 1)
		time.Sleep(KeepSnapshot + time.Second)
		want("taken for the hand-over, so it does not expire", 5, false, 3, 4, 1)
		for range 2 {
			if err := o.Drop(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
		want("dropped, once", 0, true, 3, 4, 1, 5)
		if err := e.give(t, o, attempt(6), all); err != nil {
			t.Error(err)
		}
		time.Sleep(KeepSnapshot + time.Second)
		want("expired", 0, true, 3, 4, 1, 5, 6)
	})
}

// A snapshot that is dropped while it is sent ends when the application has let go of it, not before.
func TestDropWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, e := &Outbox{}, &ending{}
		sent := make(chan error, 1)
		held := make(chan struct{})
		go func() {
			sent <- e.give(t, o, testName, func(ctx context.Context, w io.Writer) error {
				<-ctx.Done()
				<-held
				return context.Cause(ctx)
			})
		}()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.Drop(short, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drop while the application holds on: %v", err)
		}
		if len(e.ends) != 0 {
			t.Error("ended while the application still wrote")
		}
		close(held)
		if err := <-sent; !errors.Is(err, ErrDropped) {
			t.Errorf("sent: %v", err)
		}
		if err := o.Drop(t.Context(), nil); err != nil || len(e.ends) != 1 {
			t.Errorf("drop again: %v, %d ends", err, len(e.ends))
		}
	})
}

// The memory of a shard's targets is bounded.
func TestOutboxIsBounded(t *testing.T) {
	o, e := &Outbox{}, &ending{}
	for i := range snapshotsMost + 3 {
		name := testName
		name.Target.Incarnation, name.Attempt = shard.Incarnation(i+1), uint64(i+1)
		if err := e.give(t, o, name, all); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, e.ends); diff != "" || len(o.list) != snapshotsMost {
		t.Errorf("%d known; ends (-want +got):\n%s", len(o.list), diff)
	}
}
