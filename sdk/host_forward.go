package sdk

import (
	"context"
	"io"
	"net/http"

	"github.com/shardmanager/shardmanager/internal/hop"
)

// forward sends the request to the target and copies its answer. A target that refused it before execution, or that was not reached, is
// tried again; one that was reached and did not answer leaves the outcome unknown (PROTOCOL R20, R21).
func (c *httpCall) forward(ctx context.Context, to target) (again bool) {
	sent := &hop.Sent{}
	ctx, stop := sent.Until(sent.Trace(ctx, c.r.Method, c.r.Header), to.until)
	defer stop()
	response, err := c.host.peers.RoundTrip(c.outgoing(ctx, to))
	if err != nil {
		if !sent.Begun() && c.r.Context().Err() == nil {
			return true
		}
		c.refuse(c.broken(sent.Begun(), to, err))
		return false
	}
	defer func() { _ = response.Body.Close() }()
	if outcome, ok := ParseOutcome(response.Header.Get(HeaderOutcome)); ok && outcome == NotExecuted {
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection can be used again
		return true
	}
	hop.CopyAnswer(c.w, response)
	return false
}

func (c *httpCall) broken(sent bool, to target, err error) *Error {
	failed := &Error{Outcome: NotExecuted, Shard: c.request.shard, Hint: to.peer.DataAddress, Err: err}
	failed.Reason = "the new owner was not reached"
	if sent {
		failed.Outcome, failed.Reason = Unknown, "the connection to the new owner broke after the request was sent"
	}
	return failed
}

// outgoing is the request as the target gets it.
func (c *httpCall) outgoing(ctx context.Context, to target) *http.Request {
	out := hop.Outgoing(ctx, c.r, c.body, to.peer.DataAddress)
	out.Header.Set(HeaderForward, forwardHeader(to.order))
	return out
}
