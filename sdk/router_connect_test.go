package sdk

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const sayProcedure = "/test.v1.EchoService/Say"

type text = wrapperspb.StringValue

// startEcho serves a Connect method that answers what it is told, unless first says otherwise, once.
func startEcho(t *testing.T, attempts *atomic.Int32, first func() error) string {
	mux := http.NewServeMux()
	mux.Handle(sayProcedure, connect.NewUnaryHandler(sayProcedure, func(_ context.Context, req *connect.Request[text]) (*connect.Response[text], error) {
		if req.Header().Get(HeaderShard) != "0" {
			t.Errorf("header %s is %q, want 0", HeaderShard, req.Header().Get(HeaderShard))
		}
		if attempts.Add(1) == 1 {
			if err := first(); err != nil {
				return nil, err
			}
		}
		return connect.NewResponse(wrapperspb.String("echo " + req.Msg.Value)), nil
	}))
	return startData(t, mux)
}

func echoClient(r *Router, base http.RoundTripper, opts ...connect.ClientOption) *connect.Client[text, text] {
	keyOf := func(req connect.AnyRequest) (string, bool) {
		said, ok := req.Any().(*text)
		return said.GetValue(), ok
	}
	opts = append(opts, connect.WithInterceptors(r.Interceptor(keyOf)))
	return connect.NewClient[text, text](&http.Client{Transport: r.Transport(base)}, "http://kv"+sayProcedure, opts...)
}

func failWith(code connect.Code, outcome Outcome) func() error {
	return func() error {
		err := connect.NewError(code, errors.New("refused"))
		if outcome != 0 {
			err.Meta().Set(HeaderOutcome, outcome.String())
		}
		return err
	}
}

func TestConnectClients(t *testing.T) {
	idempotent := connect.WithIdempotency(connect.IdempotencyIdempotent)
	for _, c := range []struct {
		name     string
		first    func() error
		opts     []connect.ClientOption
		attempts int32
		outcome  Outcome // 0 and want 0: it succeeds
		code     connect.Code
	}{
		{"answers", func() error { return nil }, nil, 1, 0, 0},
		{"not executed", failWith(connect.CodeUnavailable, NotExecuted), nil, 2, 0, 0},
		{"unknown", failWith(connect.CodeUnavailable, Unknown), nil, 1, Unknown, connect.CodeUnavailable},
		{"unknown, idempotent method", failWith(connect.CodeUnavailable, Unknown), []connect.ClientOption{idempotent}, 2, 0, 0},
		{"application's error", failWith(connect.CodeUnavailable, 0), []connect.ClientOption{idempotent}, 1, 0, connect.CodeUnavailable},
		{"cut off", func() error { panic(http.ErrAbortHandler) }, nil, 1, Unknown, connect.CodeUnavailable},
		{"cut off, idempotent method", func() error { panic(http.ErrAbortHandler) }, []connect.ClientOption{idempotent}, 2, 0, 0},
	} {
		for _, protocol := range []string{"h1", "h2c"} {
			t.Run(c.name+"/"+protocol, func(t *testing.T) {
				source := startMapSource(t)
				var attempts atomic.Int32
				source.publish(startEcho(t, &attempts, c.first))
				r := readyRouter(t, source, WithAttemptTimeout(patience)) // a slow machine is no reason for another attempt
				client := echoClient(r, baseOf(t, protocol), c.opts...)
				answer, err := client.CallUnary(within(t, patience), connect.NewRequest(wrapperspb.String("hello")))
				if c.code == 0 && (err != nil || answer.Msg.Value != "echo hello") {
					t.Errorf("answer %v, error %v, want the echo", answer, err)
				}
				if outcome, _ := OutcomeOf(err); c.code != 0 && (connect.CodeOf(err) != c.code || outcome != c.outcome) {
					t.Errorf("error %v (%q), want %s (%q)", err, outcome, c.code, c.outcome)
				}
				if attempts.Load() != c.attempts {
					t.Errorf("%d attempts, want %d", attempts.Load(), c.attempts)
				}
			})
		}
	}
}

// A Connect client replaces the Transport's error once the deadline has passed; the Interceptor brings it back.
func TestConnectGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := servePipes(t, refusing(NotExecuted, ""))
		client := echoClient(stillRouter(t, "127.0.0.1:1001"), network.base(t, "h1"))
		_, err := client.CallUnary(within(t, 300*time.Millisecond), connect.NewRequest(wrapperspb.String("hello")))
		if outcome, _ := OutcomeOf(err); connect.CodeOf(err) != connect.CodeDeadlineExceeded || outcome != NotExecuted || !strings.Contains(err.Error(), "attempts, the last at") {
			t.Errorf("error %v (%q), want deadline_exceeded, not executed, and what was tried", err, outcome)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := client.CallUnary(ctx, connect.NewRequest(wrapperspb.String("hello"))); connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("cancelled: %v, want canceled", err)
		}
	})
}

// The time that a Connect server is granted counts from the attempt, not from the call.
func TestConnectTimeoutIsRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left []time.Duration
		mux := http.NewServeMux()
		mux.Handle(sayProcedure, connect.NewUnaryHandler(sayProcedure, func(ctx context.Context, req *connect.Request[text]) (*connect.Response[text], error) {
			deadline, _ := ctx.Deadline()
			left = append(left, time.Until(deadline))
			if len(left) == 1 {
				time.Sleep(200 * time.Millisecond)
				return nil, failWith(connect.CodeUnavailable, NotExecuted)()
			}
			return connect.NewResponse(req.Msg), nil
		}))
		client := echoClient(stillRouter(t, "127.0.0.1:1001"), servePipes(t, mux).base(t, "h1"))
		if _, err := client.CallUnary(within(t, 10*time.Second), connect.NewRequest(wrapperspb.String("hello"))); err != nil {
			t.Fatal(err)
		}
		if len(left) != 2 || left[0] != 10*time.Second || left[1] > left[0]-200*time.Millisecond || left[1] < left[0]-210*time.Millisecond {
			t.Errorf("time granted: %v, want 10 s, and 200 ms and a pause less the second time", left)
		}
	})
}
