// Package hop passes HTTP requests and Connect calls on to another server and their answers back, as a proxy does: bodies are in memory,
// headers that concern one connection only stay behind, and it is known whether a request may have reached the other side.
//
// The SDK's Host forwards with it during moves. What an answer means is not its business.
package hop

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

// Sent tells whether a request may have reached the other side: from the moment it was given a connection.
type Sent struct{ begun atomic.Bool }

// Begun reports whether it may have.
func (s *Sent) Begun() bool { return s.begun.Load() }

// Trace watches a request with the method and headers given. net/http tries another connection by itself: for replayable requests
// perhaps after the first one was sent, for all others only if not a byte of it was written, so that such a try counts afresh.
func (s *Sent) Trace(ctx context.Context, method string, header http.Header) context.Context {
	hooks := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { s.begun.Store(true) }}
	if method == http.MethodPost && header.Get("Idempotency-Key") == "" && header.Get("X-Idempotency-Key") == "" {
		hooks.GetConn = func(string) { s.begun.Store(false) }
	}
	return httptrace.WithClientTrace(ctx, hooks)
}

// Until takes a request back when over is closed, if it has not begun by then: whoever waits for a connection to a server that does not
// answer need not wait any more. One that has begun is left alone. The context is the request's; stop ends the watch.
func (s *Sent) Until(ctx context.Context, over <-chan struct{}) (watched context.Context, stop context.CancelFunc) {
	watched, stop = context.WithCancel(ctx)
	go func() {
		select {
		case <-over:
			if !s.Begun() {
				stop()
			}
		case <-watched.Done():
		}
	}()
	return watched, stop
}

// hopHeaders concern one connection only (RFC 9110, 7.6.1).
var hopHeaders = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Expect",
}

// Outgoing is a request, whose body was read, as the server at address (host:port) gets it.
func Outgoing(ctx context.Context, r *http.Request, body []byte, address string) *http.Request {
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.RequestURI, out.Close = "http", address, "", false
	trailers := strings.Contains(strings.ToLower(strings.Join(out.Header["Te"], ",")), "trailers")
	removeHopHeaders(out.Header)
	if trailers {
		out.Header.Set("Te", "trailers")
	}
	if client, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		out.Header.Set("X-Forwarded-For", strings.Join(append(out.Header["X-Forwarded-For"], client), ", "))
	}
	out.Trailer, out.TransferEncoding = nil, nil
	out.ContentLength, out.Body, out.GetBody = int64(len(body)), http.NoBody, nil
	if len(body) > 0 {
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

// CopyAnswer passes an answer on as it comes. If that breaks, so does the connection to the caller.
func CopyAnswer(w http.ResponseWriter, response *http.Response) {
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
