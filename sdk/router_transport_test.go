package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
)

var errCutOff = fmt.Errorf("read answer: %w", io.ErrUnexpectedEOF)

func opError(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

// cutOff breaks the connection of a request that has arrived.
func cutOff(w http.ResponseWriter, _ *http.Request) {
	panic(http.ErrAbortHandler)
}

// PROTOCOL R20: what may be sent again after what. Each server misbehaves once and then answers 200.
func TestTransportRetries(t *testing.T) {
	plain, get, marked := retried{"POST", ""}, retried{"GET", ""}, retried{"POST", "idempotent"}
	withID, withHeader := retried{"POST", "request id"}, retried{"POST", "header"}
	again, passed := wanted{2, 200, 0}, wanted{1, 503, Unknown}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	slow := func(http.ResponseWriter, *http.Request) { time.Sleep(700 * time.Millisecond) }
	failing := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	for _, c := range []struct {
		name  string
		first http.HandlerFunc
		want  map[retried]wanted
	}{
		{"not executed", refusing(NotExecuted, ""), map[retried]wanted{plain: again, get: again, marked: again, withID: again, withHeader: again}},
		{"unknown", refusing(Unknown, ""), map[retried]wanted{plain: passed, get: again, marked: again, withID: again, withHeader: again}},
		{"cut off", cutOff, map[retried]wanted{plain: {1, 0, Unknown}, get: again, marked: again, withID: again, withHeader: again}},
		{"silent", silent, map[retried]wanted{plain: {1, 0, Unknown}, get: again, marked: again, withID: again}},
		{"slow", slow, map[retried]wanted{plain: {1, 200, 0}, get: again}},
		{"application's own 503", failing, map[retried]wanted{plain: {1, 503, 0}, get: {1, 503, 0}, marked: {1, 503, 0}, withID: {1, 503, 0}}},
	} {
		for kind, want := range c.want {
			for _, protocol := range []string{"h1", "h2c"} {
				t.Run(fmt.Sprintf("%s/%s %s/%s", c.name, kind.method, kind.repeatable, protocol), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { retries(t, c.first, kind, want, protocol) })
				})
			}
		}
	}
}

// retried is a kind of request.
type retried struct {
	method     string
	repeatable string // how it is marked; empty: not
}

// wanted is what is to come of one.
type wanted struct {
	attempts int32
	status   int     // 0: an error
	outcome  Outcome // of the error, or of the refusal that was passed on
}

// retries sends one request to a server that misbehaves once, in virtual time.
func retries(t *testing.T, first http.HandlerFunc, kind retried, want wanted, protocol string) {
	var attempts atomic.Int32
	network := servePipes(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get(HeaderShard) != "0" || (kind.method == "POST" && string(body) != "hello") ||
			(kind.repeatable == "request id" && r.Header.Get(HeaderRequestID) != "id-1") {
			t.Errorf("arrived with headers %v and body %q", r.Header, body)
		}
		if attempts.Add(1) == 1 {
			first(w, r)
		}
	}))
	ctx := WithKey(within(t, 5*time.Second), "key")
	switch kind.repeatable {
	case "idempotent":
		ctx = WithIdempotent(ctx)
	case "request id":
		ctx = WithRequestID(ctx, "id-1")
	}
	var body io.Reader
	if kind.method == "POST" {
		body = strings.NewReader("hello")
	}
	req, err := http.NewRequestWithContext(ctx, kind.method, "http://kv/path", body)
	if err != nil {
		t.Fatal(err)
	}
	if kind.repeatable == "header" {
		req.Header.Set(HeaderRequestID, "id-1")
	}
	r := stillRouter(t, "127.0.0.1:1001", WithAttemptTimeout(300*time.Millisecond))
	response, err := (&http.Client{Transport: r.Transport(network.base(t, protocol))}).Do(req)
	if err == nil {
		defer func() { _ = response.Body.Close() }()
		if outcome, _ := ParseOutcome(response.Header.Get(HeaderOutcome)); response.StatusCode != want.status || outcome != want.outcome {
			t.Errorf("status %d, outcome %q, want %d, %q", response.StatusCode, outcome, want.status, want.outcome)
		}
	} else if outcome, _ := OutcomeOf(err); want.status != 0 || outcome != want.outcome {
		t.Errorf("error %v (%q), want status %d or outcome %q", err, outcome, want.status, want.outcome)
	}
	if attempts.Load() != want.attempts {
		t.Errorf("%d attempts, want %d", attempts.Load(), want.attempts)
	}
}

// baseOf is a transport for one version of HTTP.
func baseOf(t testing.TB, protocol string) *http.Transport {
	base := &http.Transport{Protocols: new(http.Protocols)}
	base.Protocols.SetHTTP1(protocol == "h1")
	base.Protocols.SetUnencryptedHTTP2(protocol == "h2c")
	t.Cleanup(base.CloseIdleConnections)
	return base
}

func routedGet(ctx context.Context, r *Router, base http.RoundTripper) (string, error) {
	req, err := http.NewRequestWithContext(WithKey(ctx, "key"), http.MethodGet, "http://kv/", nil)
	if err != nil {
		return "", err
	}
	response, err := (&http.Client{Transport: r.Transport(base)}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func saying(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// A server that is gone, or that refuses, is left for the next owner as soon as the map names it.
func TestTransportFollowsTheMap(t *testing.T) {
	for name, first := range map[string]func() string{
		"gone":           func() string { return nobody(t) },
		"refuses":        func() string { return startData(t, refusing(NotExecuted, "")) },
		"no primary yet": func() string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			source := startMapSource(t)
			source.publish(first())
			r := readyRouter(t, source)
			go func() {
				time.Sleep(20 * time.Millisecond)
				source.publish(startData(t, saying("second")))
			}()
			if got, err := routedGet(within(t, patience), r, nil); err != nil || got != "second" {
				t.Errorf("answer %q, error %v, want that of the second server", got, err)
			}
		})
	}
}

// A refusal that names another place is followed there, though the map does not say so yet.
func TestTransportFollowsHints(t *testing.T) {
	source := startMapSource(t)
	second := startData(t, saying("second"))
	var asked atomic.Int32
	source.publish(startData(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		refusing(NotExecuted, second)(w, r)
	})))
	r := readyRouter(t, source)
	if got, err := routedGet(within(t, patience), r, nil); err != nil || got != "second" || asked.Load() != 1 {
		t.Errorf("answer %q, error %v after %d refusals, want the second server's after one", got, err, asked.Load())
	}
}

// Two servers that point at each other are not asked without a pause.
func TestHintsDoNotPingPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001")
		asked := map[string]int{}
		base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			asked[req.URL.Host]++
			other := map[string]string{"127.0.0.1:1001": "127.0.0.1:1002", "127.0.0.1:1002": "127.0.0.1:1001"}[req.URL.Host]
			return refusedAnswer(req, NotExecuted, other), nil
		})
		_, err := routedGet(within(t, 2*time.Second), r, base)
		if err == nil || asked["127.0.0.1:1001"] < 5 || asked["127.0.0.1:1001"] > 30 || asked["127.0.0.1:1002"] > asked["127.0.0.1:1001"] {
			t.Errorf("asked %v in 2 s, error %v, want 5 to 30 times each", asked, err)
		}
	})
}

// Virtual time: pauses grow from 2 ms to 250 ms, and a change of the shard's owner ends one at once.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001")
		began := time.Now()
		var at []time.Duration
		base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "127.0.0.1:1002" {
				return answer(req, "second"), nil
			}
			at = append(at, time.Since(began))
			return refusedAnswer(req, NotExecuted, ""), nil
		})
		go func() {
			time.Sleep(1500 * time.Millisecond)
			r.update(mapfeed.Update{Map: routedMap(t, 2, "127.0.0.1:1002")})
		}()
		if got, err := routedGet(within(t, time.Minute), r, base); err != nil || got != "second" {
			t.Fatalf("answer %q, error %v", got, err)
		}
		if waited := time.Since(began); waited != 1500*time.Millisecond {
			t.Errorf("the new owner was asked after %s, want at the change, 1.5 s", waited)
		}
		if at[0] != 0 || at[1] > 3*time.Millisecond || len(at) < 8 || len(at) > 20 {
			t.Errorf("attempts at %v, want the first two within 3 ms and about a dozen in all", at)
		}
		for i := 1; i < len(at); i++ {
			if pause := at[i] - at[i-1]; pause > longestPause*3/2 {
				t.Errorf("a pause of %s, want at most %s", pause, longestPause*3/2)
			}
		}
	})
}

// A server that is slow but alive gets more time with each attempt, so that it is not asked for ever in vain.
func TestPatienceGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stillRouter(t, "127.0.0.1:1001")
		attempts := 0
		base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			attempts++
			select {
			case <-req.Context().Done():
				return nil, req.Context().Err()
			case <-time.After(3 * time.Second):
				return answer(req, "slow"), nil
			}
		})
		if got, err := routedGet(within(t, time.Minute), r, base); err != nil || got != "slow" || attempts != 3 {
			t.Errorf("answer %q, error %v after %d attempts, want the slow answer after 3", got, err, attempts)
		}
	})
}

// What a caller learns when its time is over.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := roundTripFunc(func(req *http.Request) (*http.Response, error) { return refusedAnswer(req, NotExecuted, ""), nil })
		unheard := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		none, err := NewRouter("kv", WithAgent("127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name    string
			router  *Router
			base    http.RoundTripper
			outcome Outcome
			says    []string
		}{
			{"no map", none, refused, NotExecuted, []string{"no shard map yet"}},
			{"no primary", stillRouter(t, ""), refused, NotExecuted, []string{"shard 0", "no server has the shard in map version 0.1.1"}},
			{"refused", stillRouter(t, "127.0.0.1:1001"), refused, NotExecuted, []string{"shard 0", "attempts", "127.0.0.1:1001", "agent-a.kv", "HTTP 503"}},
			{"unheard", stillRouter(t, "127.0.0.1:1001"), unheard, Unknown, []string{"2 attempts", "127.0.0.1:1001"}},
		} {
			began := time.Now()
			_, err := routedGet(within(t, 2*time.Second), c.router, c.base)
			if outcome, _ := OutcomeOf(err); outcome != c.outcome || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v (%q), want %q and the deadline as its cause", c.name, err, outcome, c.outcome)
			}
			for _, part := range c.says {
				if !strings.Contains(fmt.Sprint(err), part) {
					t.Errorf("%s: %v does not say %q", c.name, err, part)
				}
			}
			if waited := time.Since(began); waited != 2*time.Second {
				t.Errorf("%s: gave up after %s, want at the deadline, 2 s", c.name, waited)
			}
		}
		began := time.Now()
		if _, err := routedGet(t.Context(), stillRouter(t, "127.0.0.1:1001"), refused); err == nil || time.Since(began) != DefaultDeadline {
			t.Errorf("without a deadline: %v after %s, want an error after %s", err, time.Since(began), DefaultDeadline)
		}
	})
}

func TestTransportNeedsAKey(t *testing.T) {
	r := stillRouter(t, "127.0.0.1:1001")
	response, err := (&http.Client{Transport: r.Transport(nil)}).Post("http://kv/", "text/plain", strings.NewReader("x"))
	if err == nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, errNoKey) {
		t.Errorf("without a key: %v, want an error that says how to give one", err)
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return f(req)
}

func answer(req *http.Request, text string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(text))}
}

func refusedAnswer(req *http.Request, outcome Outcome, hint string) *http.Response {
	response := answer(req, "")
	response.StatusCode = http.StatusServiceUnavailable
	response.Header.Set(HeaderOutcome, outcome.String())
	if hint != "" {
		response.Header.Set(HeaderHint, hint)
	}
	return response
}
