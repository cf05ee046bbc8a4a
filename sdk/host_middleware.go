package sdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/holding"
	"github.com/shardmanager/shardmanager/internal/keepback"
)

// Middleware guards the application's handlers, plain HTTP and Connect alike. Wrap what serves shards with it, and nothing else: a
// request without the header Shardmanager-Shard is refused with 400.
//
// A request runs in next with a context that carries the shard (ShardFromContext), and its answer is kept back, up to 1 MiB, until the
// final check of the lease. A larger answer, or one that is flushed, is checked before its first byte leaves and before every later
// write; if the lease ends in between, the connection is broken off. Taking over the connection (http.Hijacker) is not supported.
//
// While the shard is handed over, requests wait within the limits of WithHoldLimits, the timeout that a Connect client announced, and 10
// s; then they are forwarded to the new owner. A held or forwarded request is read whole first, so its body counts towards the
// limit, and streams in both directions cannot be forwarded.
//
// Refusals are 503 (Connect: unavailable) with the header Shardmanager-Outcome.
func (h *Host) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, problem := requestOf(r.Header)
		if problem != "" {
			_ = h.refusals.Write(w, r, connect.NewError(connect.CodeInvalidArgument, errors.New(problem)))
			return
		}
		h.carry(r.Context(), q, &httpCall{host: h, next: next, w: w, r: r, request: q})
	})
}

// requestOf reads the headers; problem says what is wrong with them, for people.
func requestOf(header http.Header) (q request, problem string) {
	q.shard = header.Get(HeaderShard)
	if q.shard == "" {
		return q, "header " + HeaderShard + ": expected the id of the shard that the request is for (sdk.Router sets it)"
	}
	order, ok := parseForward(header.Get(HeaderForward))
	if !ok {
		return q, "header " + HeaderForward + ": expected <term>/<move>"
	}
	q.forward = order
	switch header.Get(HeaderRead) {
	case "":
	case ReadAny:
		q.anywhere = true
	default:
		return q, "header " + HeaderRead + ": expected " + ReadAny
	}
	if ms, err := strconv.ParseInt(header.Get("Connect-Timeout-Ms"), 10, 64); err == nil && ms > 0 {
		q.patience = time.Duration(min(ms, maxHold.Milliseconds())) * time.Millisecond
	}
	return q, ""
}

// httpCall carries one HTTP request.
type httpCall struct {
	host    *Host
	next    http.Handler
	w       http.ResponseWriter
	r       *http.Request
	request request
	body    []byte // once parked
	parked  bool
}

// park reads the body.
func (c *httpCall) park(held *holding.Ticket) *Error {
	c.parked = true
	body, err := held.Read(c.r.Body, c.r.ContentLength)
	if err != nil {
		return &Error{Outcome: NotExecuted, Shard: c.request.shard, Reason: "the request cannot be held", Err: err}
	}
	c.body = body
	return nil
}

func (c *httpCall) run(ctx context.Context, token *Token) {
	defer token.abandon() // if the handler panics
	r := c.r.WithContext(ctx)
	if c.parked {
		r.Body = io.NopCloser(bytes.NewReader(c.body))
	}
	w := keepback.New(c.w, r, operation{token})
	c.next.ServeHTTP(w, r)
	w.Finish()
}

// operation is a token's operation as the writer of its answer sees it.
type operation struct{ *Token }

func (a operation) Check() error             { return a.check() }
func (a operation) Stamp(header http.Header) { a.stamp(header) }
func (a operation) Refuse(w http.ResponseWriter, r *http.Request) {
	a.host.writeRefusal(w, r, a.lost())
}

func (c *httpCall) refuse(err *Error) { c.host.writeRefusal(c.w, c.r, err) }

// writeRefusal answers in the form of the request's protocol.
func (h *Host) writeRefusal(w http.ResponseWriter, r *http.Request, err *Error) {
	w.Header().Set(HeaderOutcome, err.Outcome.String())
	if err.Hint != "" {
		w.Header().Set(HeaderHint, err.Hint)
	}
	_ = h.refusals.Write(w, r, connect.NewError(connect.CodeUnavailable, err)) // the connection is gone if this fails
}

// refusal is the same for Connect handlers.
func refusal(err *Error) *connect.Error {
	refused := connect.NewError(connect.CodeUnavailable, err)
	refused.Meta().Set(HeaderOutcome, err.Outcome.String())
	if err.Hint != "" {
		refused.Meta().Set(HeaderHint, err.Hint)
	}
	return refused
}
