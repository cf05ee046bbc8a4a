package sdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// sending tells whether a request may have reached the peer: from the moment it was given a connection.
type sending struct{ begun atomic.Bool }

// trace watches a request with the method and headers given. net/http tries another connection by itself: for replayable requests
// perhaps after the first one was sent, for all others only if not a byte of it was written, so that such a try counts afresh.
func (s *sending) trace(ctx context.Context, method string, header http.Header) context.Context {
	hooks := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { s.begun.Store(true) }}
	if method == http.MethodPost && header.Get("Idempotency-Key") == "" && header.Get("X-Idempotency-Key") == "" {
		hooks.GetConn = func(string) { s.begun.Store(false) }
	}
	return httptrace.WithClientTrace(ctx, hooks)
}

// forward sends the request to the target and copies its answer. A target that refused it before execution, or that was not reached, is
// tried again; one that was reached and did not answer leaves the outcome unknown (PROTOCOL R20, R21).
func (c *httpCall) forward(ctx context.Context, to target) (again bool) {
	sent := &sending{}
	ctx, cancel := context.WithCancel(sent.trace(ctx, c.r.Method, c.r.Header))
	defer cancel()
	response, err := c.host.peers.RoundTrip(c.outgoing(ctx, to))
	if err != nil {
		if !sent.begun.Load() && c.r.Context().Err() == nil {
			return true
		}
		c.refuse(c.broken(sent.begun.Load(), to, err))
		return false
	}
	defer func() { _ = response.Body.Close() }()
	if outcome, ok := ParseOutcome(response.Header.Get(HeaderOutcome)); ok && outcome == NotExecuted {
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection can be used again
		return true
	}
	copyAnswer(c.w, response)
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

// hopHeaders concern one connection only (RFC 9110, 7.6.1).
var hopHeaders = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Expect",
}

// outgoing is the request as the target gets it.
func (c *httpCall) outgoing(ctx context.Context, to target) *http.Request {
	out := c.r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.RequestURI, out.Close = "http", to.peer.DataAddress, "", false
	trailers := strings.Contains(strings.ToLower(strings.Join(out.Header["Te"], ",")), "trailers")
	removeHopHeaders(out.Header)
	if trailers {
		out.Header.Set("Te", "trailers")
	}
	out.Header.Set(HeaderForward, forwardHeader(to.order))
	if client, _, err := net.SplitHostPort(c.r.RemoteAddr); err == nil {
		out.Header.Set("X-Forwarded-For", strings.Join(append(out.Header["X-Forwarded-For"], client), ", "))
	}
	out.Trailer, out.TransferEncoding = nil, nil
	out.ContentLength, out.Body, out.GetBody = int64(len(c.body)), http.NoBody, nil
	if len(c.body) > 0 {
		body := c.body
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body, _ = out.GetBody()
	}
	return out
}

func removeHopHeaders(header http.Header) {
	for _, line := range header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopHeaders {
		header.Del(name)
	}
}

// copyAnswer passes the target's answer on as it comes. If that breaks, so does the connection to the caller.
func copyAnswer(w http.ResponseWriter, response *http.Response) {
	header := w.Header()
	removeHopHeaders(response.Header)
	for key, values := range response.Header {
		header[key] = append(header[key], values...)
	}
	for key := range response.Trailer {
		header.Add("Trailer", key)
	}
	w.WriteHeader(response.StatusCode)
	if err := copyBody(w, response); err != nil {
		panic(http.ErrAbortHandler)
	}
	for key, values := range response.Trailer {
		for _, value := range values {
			header.Add(http.TrailerPrefix+key, value)
		}
	}
}

// copyBody copies and, where the length is not known, flushes what has come.
func copyBody(w http.ResponseWriter, response *http.Response) error {
	if response.ContentLength >= 0 && len(response.Trailer) == 0 {
		_, err := io.Copy(w, response.Body)
		return err
	}
	out, part := http.NewResponseController(w), make([]byte, 32<<10)
	for {
		n, err := response.Body.Read(part)
		if n > 0 {
			if _, err := w.Write(part[:n]); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
