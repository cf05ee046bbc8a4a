package sdk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/replay"
)

// MaxReplayBody is the largest request body, in bytes, that the Router's Transport keeps for a repetition. A larger one, or one of unknown
// length, can be repeated only through the request's GetBody, or as long as nothing was read of it.
const MaxReplayBody = 1 << 20

// maxRefusal is how much of a refusal's body is read, and maxDiscard for how long, so that its connection can be used again.
const (
	maxRefusal = 64 << 10
	maxDiscard = 100 * time.Millisecond
)

var errNoKey = errors.New("router: the request's context has no key: use sdk.WithKey, or Router.Interceptor with a Connect client")

var errAttemptTimeout = errors.New("no answer in time")

// Transport is an http.RoundTripper that sends each request to the server of its context's key (see WithKey), whatever host the URL
// names, and retries by what is known of a failed attempt (PROTOCOL R20), within the context's deadline (DefaultDeadline if it has none):
//
//   - no connection, or a refusal that says `not executed`: again, wherever the shard is then;
//   - a refusal that says `unknown`, a connection that broke, no answer within the attempt's time: again only if the request may be
//     repeated (GET, HEAD, WithIdempotent, WithRequestID or HeaderRequestID); otherwise the caller gets the refusal, or an *Error;
//     and no oftener than the retry budget allows (see WithRetryBudget), as long as the shard's owner is the same;
//   - any other answer is the application's, and the caller's.
//
// It works under net/http and under Connect clients, over HTTP/1.1 and HTTP/2, as base does. A nil base is a plain HTTP/1.1 transport with
// enough idle connections for a busy client.
func (r *Router) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
		base = &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
	}
	return &routedTransport{router: r, base: base}
}

type routedTransport struct {
	router *Router
	base   http.RoundTripper
}

// CloseIdleConnections serves http.Client's method of that name.
func (t *routedTransport) CloseIdleConnections() {
	if closer, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *routedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	key, ok := keyFrom(req.Context())
	if !ok {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, errNoKey
	}
	body, err := replay.Take(req, MaxReplayBody)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	limited, cancel := limit(req.Context())
	defer cancel()
	c := t.router.newRouted(req.Context(), key, req.Method == http.MethodGet || req.Method == http.MethodHead ||
		req.Header.Get(HeaderRequestID) != "")
	for {
		route, err := c.next(limited)
		if err != nil {
			return nil, err
		}
		response, res := t.attempt(req, body, route, c)
		if !c.again(route, res) || !body.Replayable() {
			return t.final(limited, c, body, response)
		}
		if response != nil {
			discard(response)
		}
	}
}

// final is what the caller gets after the last attempt: the answer, a refusal included, or an *Error.
func (t *routedTransport) final(ctx context.Context, c *routed, body *replay.Body, response *http.Response) (*http.Response, error) {
	switch {
	case response != nil:
		return response, nil
	case c.result.outcome == 0:
		return nil, c.result.err
	case !body.Replayable():
		return nil, c.giveUp(ctx, errors.Join(replay.ErrSpent, c.result.err))
	default:
		return nil, c.giveUp(ctx, c.result.err)
	}
}

// attempt sends the request once.
func (t *routedTransport) attempt(req *http.Request, body *replay.Body, route Route, c *routed) (*http.Response, attempted) {
	sent := new(sentTrace)
	ctx, cancel := context.WithCancelCause(httptrace.WithClientTrace(req.Context(), sent.trace()))
	out := addressed(req.WithContext(ctx), route)
	if err := body.Attach(out); err != nil {
		cancel(err)
		return nil, attempted{err: err}
	}
	response, err := t.inTime(out, c, route, sent, cancel)
	if err != nil {
		cancel(err)
		return nil, attempted{err: err, outcome: sent.outcome(err)}
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = &answerBody{ReadCloser: response.Body, done: func() { cancel(nil) }}
	}
	res := attempted{hint: response.Header.Get(HeaderHint)}
	if outcome, ok := ParseOutcome(response.Header.Get(HeaderOutcome)); ok {
		res.outcome, res.refused = outcome, true
		res.err = fmt.Errorf("%s: refused: %s (HTTP %d)", route.address, outcome, response.StatusCode)
	}
	return response, res
}

// inTime is one exchange, ended with errAttemptTimeout when it takes longer than the call's patience and may be ended: if nothing was sent,
// or if the request may be repeated and somebody else owns the shard or the retry budget allows a repetition. Otherwise it goes on, and
// that is looked at again: to drop an attempt that cannot be repeated would only waste its server's work.
func (t *routedTransport) inTime(
	out *http.Request, c *routed, route Route, sent *sentTrace, cancel context.CancelCauseFunc,
) (*http.Response, error) {
	var settled atomic.Bool // the answer and the timer race for it
	var paid bool           // the timer's, until it has won
	late := fmt.Errorf("%w (%s)", errAttemptTimeout, c.patience)
	var expire func()
	expire = func() {
		switch {
		case settled.Load():
			return
		case sent.nothing():
		case !c.repeatable:
			return
		case c.elsewhere(route) || c.router.repeats():
			paid = true
		default:
			time.AfterFunc(longestPause, expire)
			return
		}
		if settled.CompareAndSwap(false, true) {
			cancel(late)
		}
	}
	timer := time.AfterFunc(c.patience, expire)
	response, err := t.base.RoundTrip(out)
	timer.Stop()
	if settled.CompareAndSwap(false, true) {
		return response, err
	}
	c.paid = paid
	if response != nil {
		_ = response.Body.Close()
	}
	return nil, late
}

// addressed is a copy of the request for one server. The Host that the caller wrote stays, for servers that look at it.
func addressed(req *http.Request, route Route) *http.Request {
	out := req.Clone(req.Context())
	out.Host = cmp.Or(req.Host, req.URL.Host)
	out.URL.Scheme = cmp.Or(req.URL.Scheme, "http")
	out.URL.Host = route.address
	out.Header.Set(HeaderShard, route.Shard())
	if nearestFrom(req.Context()) {
		out.Header.Set(HeaderRead, ReadAny)
	}
	if id := requestIDFrom(req.Context()); id != "" {
		out.Header.Set(HeaderRequestID, id)
	}
	// The time that the caller's protocol grants the server counts from now, not from the first attempt.
	if deadline, ok := req.Context().Deadline(); ok && out.Header.Get(connectTimeout) != "" {
		out.Header.Set(connectTimeout, strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10))
	}
	return out
}

const connectTimeout = "Connect-Timeout-Ms"

// discard reads a refusal to its end, if that is near, so that its connection can be used again.
func discard(response *http.Response) {
	if body, ok := response.Body.(*answerBody); ok {
		defer time.AfterFunc(maxDiscard, body.done).Stop()
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxRefusal)
	_ = response.Body.Close()
}

// sentTrace learns whether a request can have reached a server.
type sentTrace struct {
	asked, wrote atomic.Bool
}

func (s *sentTrace) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:      func(string) { s.asked.Store(true) },
		WroteHeaders: func() { s.wrote.Store(true) },
	}
}

// nothing reports that nothing a server could act on has been sent. A base that does not trace is believed to have sent it.
func (s *sentTrace) nothing() bool { return s.asked.Load() && !s.wrote.Load() }

func (s *sentTrace) outcome(err error) Outcome {
	if s.nothing() || notConnected(err) {
		return NotExecuted
	}
	return Unknown
}

// answerBody ends its attempt's context when the caller is done with the answer.
type answerBody struct {
	io.ReadCloser
	once sync.Once
	done func()
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.done)
	return err
}
