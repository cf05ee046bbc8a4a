package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// fragile is a listener whose connections break after so many bytes were written; beyond the list they hold.
type fragile struct {
	net.Listener
	reset  bool // and what is on its way is lost
	mu     sync.Mutex
	breaks []int64
}

func (f *fragile) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.breaks) == 0 {
		return conn, nil
	}
	left := f.breaks[0]
	f.breaks = f.breaks[1:]
	_ = conn.(*net.TCPConn).SetWriteBuffer(64 << 10) // less is lost than a source keeps
	return &brittle{Conn: conn, left: left, reset: f.reset}, nil
}

type brittle struct {
	net.Conn
	left  int64
	reset bool
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		if b.reset {
			_ = b.Conn.(*net.TCPConn).SetLinger(0)
		}
		return 0, errors.Join(io.ErrClosedPipe, b.Conn.Close())
	}
	return b.Conn.Write(p)
}

// giver is a source behind HTTP.
type giver struct {
	shardmanagerv1connect.UnimplementedShardHostServiceHandler
	content       []byte
	outbox        Outbox
	valve         *Valve
	writes, ended atomic.Int64
	requests      atomic.Int64
	running       sync.WaitGroup
}

func (g *giver) StreamState(ctx context.Context, req *pb.StreamStateRequest, out *connect.ServerStream[pb.StreamStateResponse]) error {
	g.running.Add(1)
	defer g.running.Done()
	g.requests.Add(1)
	name, _ := NameFromProto(req)
	return Serve(ctx, name, Source{
		Valve: g.valve, Outbox: &g.outbox, Stall: 2 * time.Second, Allowed: func() error { return nil }, Size: func() int64 { return int64(len(g.content)) },
		Write: func(_ context.Context, w io.Writer) error {
			g.writes.Add(1)
			_, err := io.Copy(w, bytes.NewReader(g.content))
			return err
		},
		End: func() { g.ended.Add(1) },
	}, out.Send)
}

func dialSmall(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	}
	return conn, err
}

// TestResume: a stream whose connection breaks goes on after what has arrived, and the application at neither end notices. One that breaks again and again without
// a chunk, or from the beginning, fails as a whole.
func TestResume(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	content := make([]byte, 24*mb)
	random := rand.NewChaCha8([32]byte{7})
	_, _ = random.Read(content)
	for name, c := range map[string]struct {
		breaks   []int64
		fails    string
		requests int64
		reset    bool
	}{
		"never":                     {nil, "", 1, false},
		"once":                      {[]int64{5 * mb}, "", 2, false},
		"once, by a reset":          {[]int64{20 * mb}, "", 2, true},
		"three times":               {[]int64{5 * mb, 7*mb + 1, mb}, "", 4, false},
		"in the middle of a resume": {[]int64{9 * mb, 1000}, "", 3, false},
		"before anything came":      {[]int64{1000}, "broke", 1, false},
		"for ever":                  {[]int64{3 * mb, 900, 900, 900, 900, 900, 900, 900}, "broke", 6, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &giver{content: content, valve: NewValve(4, 0)}
			mux := http.NewServeMux()
			path, handler := shardmanagerv1connect.NewShardHostServiceHandler(g)
			mux.Handle(path, WithDeadlines(handler))
			server := httptest.NewUnstartedServer(mux)
			server.Listener = &fragile{Listener: server.Listener, breaks: c.breaks, reset: c.reset}
			server.Start()
			defer server.Close()
			stream := testName
			stream.Attempt = 0
			stream.Source.DataAddress = server.Listener.Addr().String()
			var inbox Inbox
			var got []byte
			received := 0
			attempt, err := inbox.Pull(t.Context(), &http.Transport{DisableKeepAlives: true, DialContext: dialSmall}, stream, Limits{Stall: 10 * time.Second, Bytes: 1 << 30}, func(_ context.Context, r io.Reader) (err error) {
				received++
				got, err = io.ReadAll(r)
				return err
			})
			g.running.Wait()
			if g.requests.Load() != c.requests || g.writes.Load() != 1 || received > 1 {
				t.Errorf("%d requests (expected %d), %d writes, received %d times", g.requests.Load(), c.requests, g.writes.Load(), received)
			}
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") || g.ended.Load() != 1 {
					t.Errorf("%v; ended %d times", err, g.ended.Load())
				}
				return
			}
			if err != nil || attempt != 1 || !bytes.Equal(got, content) {
				t.Fatalf("attempt %d, %d bytes: %v", attempt, len(got), err)
			}
			if base, err := g.outbox.Base(testName.Target, testName.Order); base == nil || err != nil || g.ended.Load() != 0 {
				t.Errorf("the source has no snapshot to hand over the rest of: %v; ended %d times", err, g.ended.Load())
			}
		})
	}
}

// TestResumeIsRefused where there is nothing to go on with.
func TestResumeIsRefused(t *testing.T) {
	t.Parallel()
	var outbox Outbox
	name := testName
	name.Received = 3
	err := Serve(t.Context(), name, Source{Outbox: &outbox}, func(*pb.StreamStateResponse) error { return nil })
	if !errors.Is(err, ErrDropped) {
		t.Errorf("got %v", err)
	}
}
