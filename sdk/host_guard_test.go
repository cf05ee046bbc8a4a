package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/keepback"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// These tests run in synctest bubbles: the guard's clock is the bubble's, so a lease ends when the test says so.

const oneShard = "07"

// plain is an application without optional callbacks.
type plain struct{}

func (plain) AddShard(context.Context, Shard) error  { return nil }
func (plain) DropShard(context.Context, Shard) error { return nil }

// events is an Observer that remembers.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, what)
}
func (e *events) Activated(string, uint64, int64)        { e.add("activated") }
func (e *events) Released(string, uint64, int64)         { e.add("released") }
func (e *events) LeaseExtended(int64)                    { e.add("lease extended") }
func (e *events) LeaseRevoked(int64)                     { e.add("lease revoked") }
func (e *events) Operation(string, uint64, int64, int64) { e.add("operation") }

// leased is a Host that was registered as incarnation 1, with a lease of a minute.
func leased(t *testing.T, opts ...HostOption) *Host {
	t.Helper()
	bubbleClock := func(o *hostOptions) error {
		o.now = func() shard.Instant { return shard.Instant{Boot: time.Now().UnixNano(), Raw: time.Now().UnixNano()} }
		return nil
	}
	h, err := NewHost("kv", plain{}, append([]HostOption{WithDataAddress("127.0.0.1:1"), bubbleClock}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	h.adopt(newLife("a.kv", 1))
	h.lend(time.Minute)
	return h
}

func (h *Host) lend(d time.Duration) {
	end := h.now().Add(d)
	h.life.Load().end.Store(&end)
}

func (o testOrder) command() *pb.ShardCommand {
	return &pb.ShardCommand{App: "kv", Shard: oneShard, Term: o.term, Move: o.move, Incarnation: 1}
}

type testOrder struct{ term, move uint64 }

func (h *Host) add(t *testing.T, o testOrder) {
	t.Helper()
	request := &pb.AddShardRequest{Command: o.command(), Role: pb.Role_ROLE_PRIMARY}
	if _, err := (&service{host: h}).AddShard(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, h *Host) (context.Context, *Token) {
	t.Helper()
	ctx, token, err := h.Begin(t.Context(), oneShard)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, token
}

// outcome names what an error says.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	said, _ := OutcomeOf(err)
	return said.String()
}

func TestLeaseEndsInTheMiddle(t *testing.T) {
	tests := []struct {
		name string
		do   func(h *Host)
		want string
	}{
		{"lease holds", func(*Host) { time.Sleep(59 * time.Second) }, "ok"},
		{"lease ran out", func(*Host) { time.Sleep(61 * time.Second) }, "unknown"},
		{"lease ran out to the nanosecond", func(*Host) { time.Sleep(time.Minute) }, "unknown"},
		{"lease ran out and was granted again", func(h *Host) { time.Sleep(61 * time.Second); h.lend(time.Second) }, "ok"},
		{"incarnation ended", func(h *Host) { h.revoke(h.life.Load(), "test") }, "unknown"},
		{"another incarnation began", func(h *Host) {
			h.revoke(h.life.Load(), "test")
			h.adopt(newLife("a.kv", 2))
			h.lend(time.Minute)
		}, "unknown"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := leased(t)
				h.add(t, testOrder{1, 1})
				_, token := begin(t, h)
				test.do(h)
				if got := outcome(token.End()); got != test.want {
					t.Errorf("End: %s, want %s", got, test.want)
				}
				if err := token.End(); err != nil {
					t.Errorf("End again: %v", err)
				}
			})
		})
	}
}

func TestBeginRefuses(t *testing.T) {
	tests := []struct {
		name string
		do   func(h *Host)
	}{
		{"no lease", func(*Host) { time.Sleep(61 * time.Second) }},
		{"incarnation ended", func(h *Host) { h.revoke(h.life.Load(), "test") }},
		{"forked", func(h *Host) { h.pid = os.Getpid() + 1 }},
		{"not registered", func(h *Host) { h.life.Store(nil) }},
		{"dropped", func(h *Host) {
			_, _ = (&service{host: h}).DropShard(context.Background(), &pb.DropShardRequest{Command: testOrder{1, 2}.command()})
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := leased(t)
				h.add(t, testOrder{1, 1})
				test.do(h)
				if _, _, err := h.Begin(t.Context(), oneShard); outcome(err) != "not-executed" {
					t.Errorf("Begin: %v, want not-executed", err)
				}
			})
		})
	}
}

// The Middleware keeps an answer back until the lease was checked; what left before the lease ended is broken off.
func TestMiddlewareWithholdsAnswers(t *testing.T) {
	big := strings.Repeat("x", keepback.Most+1)
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    string // body, outcome or panic
	}{
		{"in time", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("yes")) }, "200 yes"},
		{"status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, "418 "},
		{"late", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Mine", "1")
			_, _ = w.Write([]byte("yes"))
			time.Sleep(2 * time.Minute)
		}, "503 unknown"},
		{"large and late", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(2 * time.Minute)
			if _, err := w.Write([]byte(big)); err == nil {
				_, _ = w.Write([]byte("the write should have failed"))
			}
		}, "503 unknown"},
		{"large and in time", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(big)) }, "200 " + big},
		{"flushed, then late", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("part"))
			w.(http.Flusher).Flush()
			time.Sleep(2 * time.Minute)
			_, _ = w.Write([]byte("rest"))
		}, "200 part, broken off"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := &events{}
				h := leased(t, WithObserver(seen))
				h.add(t, testOrder{1, 1})
				if got := recorded(h.Middleware(test.handler)); got != test.want {
					t.Errorf("answer %.60q, want %.60q", got, test.want)
				}
				r := h.life.Load().find(oneShard)
				if r.running != 0 {
					t.Errorf("%d tokens still out", r.running)
				}
				want := []string{"activated", "operation"}
				if !strings.HasPrefix(test.want, "200") && !strings.HasPrefix(test.want, "418") || strings.HasSuffix(test.want, "off") {
					want = want[:1]
				}
				if diff := cmp.Diff(want, seen.list); diff != "" {
					t.Errorf("observed (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// recorded is the handler's answer to one request, in one line.
func recorded(handler http.Handler) (got string) {
	request := httptest.NewRequest(http.MethodPost, "/", nil)
	request.Header.Set(HeaderShard, oneShard)
	w := httptest.NewRecorder()
	defer func() {
		if cause := recover(); cause == http.ErrAbortHandler {
			got = "200 " + w.Body.String() + ", broken off"
		} else if cause != nil {
			panic(cause)
		}
	}()
	handler.ServeHTTP(w, request)
	if said := w.Header().Get(HeaderOutcome); said != "" {
		if w.Header().Get("Mine") != "" {
			return "a refusal with the handler's headers"
		}
		return "503 " + said
	}
	return strconv.Itoa(w.Code) + " " + w.Body.String()
}

// PrepareDropShard with an operation that does not end (PROTOCOL R22): its context is cancelled at the deadline; if it still runs after
// the grace, the shard is served on, and what was held meanwhile runs here.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := leased(t)
		h.add(t, testOrder{1, 1})
		ctx, stubborn := begin(t, h)
		start := time.Now()
		held := make(chan string)
		time.AfterFunc(time.Second, func() {
			_, token, err := h.Begin(context.Background(), oneShard)
			if err == nil {
				err = token.End()
			}
			held <- outcome(err)
		})
		answer, err := h.prepareDropTo(t, testOrder{2, 2}, 3*time.Second)
		if err != nil || !answer.GetBusy() {
			t.Fatalf("PrepareDropShard: %v, %v, want busy", answer, err)
		}
		if got := time.Since(start); got != 3*time.Second+cancelGrace {
			t.Errorf("busy after %s, want the deadline of 3 s and the grace", got)
		}
		if !errors.Is(context.Cause(ctx), errShardLeaving) {
			t.Errorf("the operation's context: %v, want cancelled", context.Cause(ctx))
		}
		if got := <-held; got != "ok" {
			t.Errorf("the held request: %s, want ok", got)
		}
		if err := stubborn.End(); err != nil {
			t.Errorf("the late operation: %v, want ok: the lease holds", err)
		}
		begun, err := h.cancelMove(t.Context(), testOrder{2, 2}.command())
		if err != nil || begun {
			t.Errorf("CancelMove after busy: begun %v, %v, want not begun", begun, err)
		}
	})
}

func (h *Host) prepareDropTo(t *testing.T, o testOrder, deadline time.Duration) (*pb.PrepareDropShardResponse, error) {
	t.Helper()
	return (&service{host: h}).PrepareDropShard(t.Context(), &pb.PrepareDropShardRequest{
		Command: o.command(), DeadlineMs: deadline.Milliseconds(), To: &pb.Peer{Server: "b.kv", Incarnation: 9, DataAddress: "127.0.0.1:1"},
	})
}

// An operation that ends when its context does lets the hand-over go on.
func TestCancelledOperationLetsTheShardGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &events{}
		h := leased(t, WithObserver(seen))
		h.add(t, testOrder{1, 1})
		ctx, token := begin(t, h)
		go func() {
			<-ctx.Done()
			_ = token.End()
		}()
		r := h.life.Load().find(oneShard)
		r.setGate(gateHold)
		if err := r.quiesce(t.Context(), time.Second); err != nil {
			t.Errorf("quiesce: %v", err)
		}
	})
}

// An operation may begin others on its shard while the shard is being handed over: the hand-over waits for all of them.
func TestBeginWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := leased(t)
		h.add(t, testOrder{1, 1})
		ctx, outer := begin(t, h)
		r := h.life.Load().find(oneShard)
		r.setGate(gateHold)
		_, inner, err := h.Begin(ctx, oneShard)
		if err != nil {
			t.Fatalf("within an operation: %v", err)
		}
		if err := outer.End(); err != nil {
			t.Fatal(err)
		}
		if err := r.quiesce(t.Context(), time.Second); !errors.Is(err, errStillRunning) {
			t.Errorf("quiesce while the inner operation runs: %v", err)
		}
		if err := inner.End(); err != nil {
			t.Error(err)
		}
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if _, _, err := h.Begin(late, oneShard); outcome(err) != "not-executed" {
			t.Errorf("within an operation that has ended: %v, want not-executed", err)
		}
	})
}

// Held requests are bounded in number, bytes and time, and end with the lease (PROTOCOL R32).
func TestHoldLimits(t *testing.T) {
	body := func(n int) *http.Request {
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", n)))
		request.Header.Set(HeaderShard, oneShard)
		return request
	}
	tests := []struct {
		name   string
		lease  time.Duration
		count  int
		bytes  int64
		others int // requests held already
		r      *http.Request
		after  time.Duration
		reason string
	}{
		{"number", time.Minute, 2, 1 << 20, 2, body(1), 0, "too many requests"},
		{"bytes", time.Minute, 2, 100, 1, body(101), 0, "too many bytes"},
		{"bytes, with the others", time.Minute, 2, 100, 1, body(98), 0, "too many bytes"},
		{"time", time.Minute, 2, 1 << 20, 0, body(1), maxHold, "held for as long as allowed"},
		{"the lease's end", 3 * time.Second, 2, 1 << 20, 0, body(1), 3 * time.Second, "no lease"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := leased(t, WithHoldLimits(test.count, test.bytes))
				h.add(t, testOrder{1, 1})
				h.lend(test.lease)
				r := h.life.Load().find(oneShard)
				r.setGate(gateHold)
				handler := h.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("executed") }))
				for range test.others {
					go handler.ServeHTTP(httptest.NewRecorder(), body(3))
				}
				synctest.Wait()
				start, w := time.Now(), httptest.NewRecorder()
				handler.ServeHTTP(w, test.r)
				if w.Header().Get(HeaderOutcome) != OutcomeNotExecuted || !strings.Contains(w.Body.String(), test.reason) {
					t.Errorf("answer %v %s, want not-executed: %s", w.Header(), w.Body, test.reason)
				}
				if got := time.Since(start); got != test.after {
					t.Errorf("after %s, want %s", got, test.after)
				}
				h.revoke(h.life.Load(), "test")
				synctest.Wait()
				if count, bytes := h.holds.Held(); count != 0 || bytes != 0 {
					t.Errorf("%d requests and %d bytes are still accounted for", count, bytes)
				}
			})
		})
	}
}

// A request that waits for a connection to the target of a move comes back when the move is aborted (PROTOCOL R10); one that was sent stays
// with the target.
func TestForwardIsTakenBack(t *testing.T) {
	for _, sent := range []bool{false, true} {
		t.Run(fmt.Sprint("sent ", sent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := leased(t)
				h.add(t, testOrder{1, 1})
				r := h.life.Load().find(oneShard)
				ended := make(chan struct{})
				h.peers.DialContext = func(context.Context, string, string) (net.Conn, error) {
					if ours, theirs := net.Pipe(); sent {
						go func() { _, _ = io.Copy(io.Discard, theirs) }() // it reads, and says nothing
						return ours, nil
					}
					<-ended
					return nil, net.ErrClosed
				}
				r.update(func() { r.gate, r.peer = gateForward, shard.Peer{Server: "b.kv", DataAddress: "127.0.0.1:2"} })
				handler := h.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
				time.AfterFunc(time.Second, func() { r.setGate(gateOpen) })
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader("x"))
				request.Header.Set(HeaderShard, oneShard)
				start, w := time.Now(), httptest.NewRecorder()
				handler.ServeHTTP(w, request)
				took, outcome := time.Since(start), w.Header().Get(HeaderOutcome)
				if !sent && (took != time.Second || w.Body.String() != "here") || sent && (took != 5*time.Second || outcome != OutcomeUnknown) {
					t.Errorf("answer %v %s after %s, want it from here at the abort, or unknown at the deadline if it was sent", w.Header(), w.Body, took)
				}
				close(ended)
				h.revoke(h.life.Load(), "test")
				synctest.Wait()
			})
		})
	}
}

// The end of a lease moves later by answers to its own pulls and never earlier; nothing extends a life that is over.
func TestLeaseEnd(t *testing.T) {
	at := func(s int64) shard.Instant { return shard.Instant{Boot: s, Raw: s} }
	l := newLife("a.kv", 1)
	for _, step := range []struct {
		end  int64
		want int64
	}{{10, 10}, {12, 12}, {11, 12}, {3, 12}} {
		l.extend(at(step.end), at(5), func() {})
		if got := l.leaseEnd(); got != at(step.want) {
			t.Errorf("after an answer that ends at %d: end %d, want %d", step.end, got.Raw, step.want)
		}
	}
	l.revoke(func() {})
	if l.extend(at(100), at(5), func() { t.Error("observed") }) || l.allows(at(5)) {
		t.Error("a lease was extended after the incarnation's end")
	}
}

func TestMissingHeaders(t *testing.T) {
	h := leased(t)
	handler := h.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("executed") }))
	for _, test := range []struct{ shard, forward, want string }{
		{"", "", HeaderShard}, {oneShard, "x", HeaderForward}, {oneShard, "1", HeaderForward}, {oneShard, "0/1", HeaderForward}, {oneShard, "1/2x", HeaderForward},
	} {
		request, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		request.Header.Set(HeaderShard, test.shard)
		request.Header.Set(HeaderForward, test.forward)
		handler.ServeHTTP(w, request)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("shard %q, forward %q: %d %s, want 400 naming %s", test.shard, test.forward, w.Code, w.Body, test.want)
		}
	}
}

func BenchmarkBeginEnd(b *testing.B) {
	h, err := NewHost("kv", plain{}, WithDataAddress("127.0.0.1:1"))
	if err != nil {
		b.Fatal(err)
	}
	h.adopt(newLife("a.kv", 1))
	h.lend(time.Hour)
	request := &pb.AddShardRequest{Command: testOrder{1, 1}.command(), Role: pb.Role_ROLE_PRIMARY}
	if _, err := (&service{host: h}).AddShard(b.Context(), request); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, token, err := h.Begin(ctx, oneShard)
		if err == nil {
			err = token.End()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
