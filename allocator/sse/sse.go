// Package sse serves the leader's events as server-sent events (WHATWG HTML §9.2), for whatever speaks plain HTTP: browsers, curl, scripts.
//
// Each event has the position to resume from as its id, its kind as its type, and the JSON of the API as its data. Invariants: nothing is kept
// for a reader but its position; one that takes longer than Stalled for what it was sent is cut off, and may come back with the id that it
// came to; who does not lead sends its readers to the leader.
//
// Called by package allocator, which puts it beside AdminService. It never logs.
package sse

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
)

const (
	// Pattern is where the events are.
	Pattern = "GET " + path
	path    = "/v1/events"
	// Stalled is how long a reader may take for one batch.
	Stalled = 10 * time.Second
	// retryMillis is when a browser comes back after the stream broke; soon is the same for whoever is refused, in seconds.
	retryMillis = 1000
	soon        = "1"
)

// Stream is the handler. Make it with New.
type Stream struct {
	node    api.Node
	feed    *feed.Feed
	stalled time.Duration
	frames  frames
}

// New makes the handler of an allocator's feed. A reader may take as long as stalled says for one batch; 0: Stalled.
func New(node api.Node, news *feed.Feed, stalled time.Duration) *Stream {
	if stalled == 0 {
		stalled = Stalled
	}
	return &Stream{node: node, feed: news, stalled: stalled}
}

// ServeHTTP implements http.Handler.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked, err := parse(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	leader := s.node.Leader()
	if leader == nil {
		s.sendAway(w, r)
		return
	}
	leave, err := s.feed.Enter()
	if err != nil {
		w.Header().Set("Retry-After", soon)
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	defer leave()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies must not wait for more
	if r.Method == http.MethodHead {
		return
	}
	if asked.newest {
		asked.from = s.feed.Newest()
	}
	out := &writer{ResponseWriter: w, control: http.NewResponseController(w), stalled: s.stalled}
	out.begin()
	out.text(fmt.Appendf(nil, "retry: %d\n", retryMillis))
	err = s.feed.Follow(r.Context(), leader.Ended(), asked.from, asked.follow, func(list []events.Event, at events.Position) error {
		return s.send(out, asked.filter, list, at)
	})
	if errors.Is(err, feed.ErrEnded) {
		err = s.end(out)
	}
	if err == nil {
		out.done()
	}
}

// send writes a batch. A reader who wants none of it is told now and then what to resume from.
func (s *Stream) send(out *writer, filter feed.Filter, list []events.Event, at events.Position) error {
	out.begin()
	wanted := false
	for _, e := range list {
		if !filter.Wants(e) {
			continue
		}
		wanted = true
		text, err := s.frames.of(e)
		if err != nil {
			return err
		}
		out.text(text)
	}
	if !wanted {
		if len(list) > 0 && time.Since(out.flushed) < s.feed.AliveEvery() {
			return nil
		}
		out.text(fmt.Appendf(nil, ": alive\nid: %s\n\n", feed.Written(at)))
	}
	return out.flush()
}

// end tells a reader that the leadership is over, and who leads now, if that is known.
func (s *Stream) end(out *writer) error {
	status := s.node.Status()
	data, err := json.Marshal(map[string]string{"leader": status.Leader, "address": status.LeaderAdmin})
	if err != nil {
		return err
	}
	out.begin()
	out.text(fmt.Appendf(nil, "event: end\ndata: %s\n\n", data))
	return out.flush()
}

// sendAway sends a reader to the leader.
func (s *Stream) sendAway(w http.ResponseWriter, r *http.Request) {
	status := s.node.Status()
	host := strings.TrimPrefix(status.LeaderAdmin, "http://")
	if host == "" || strings.HasPrefix(host, "unix:") { // not known, or a socket of another host
		w.Header().Set("Retry-After", soon)
		who := cmp.Or(status.Leader, "not known at present")
		http.Error(w, fmt.Sprintf("allocator %s does not lead: the leader is %s: try again soon", status.Name, who), http.StatusServiceUnavailable)
		return
	}
	target := *r.URL
	target.Scheme, target.Host = "http", host
	if r.TLS != nil {
		target.Scheme = "https"
	}
	w.Header().Set("Location", target.String())
	http.Error(w, fmt.Sprintf("allocator %s does not lead: the leader is %s, at %s", status.Name, status.Leader, status.LeaderAdmin), http.StatusTemporaryRedirect)
}

// writer writes to a reader, and remembers the first error.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	stalled time.Duration
	flushed time.Time
	err     error
}

// begin starts a batch: the reader must have taken it in time.
func (w *writer) begin() { w.note(w.control.SetWriteDeadline(time.Now().Add(w.stalled))) }

func (w *writer) text(b []byte) {
	if w.err == nil {
		_, err := w.Write(b)
		w.note(err)
	}
}

func (w *writer) flush() error {
	w.flushed = time.Now()
	if w.err == nil {
		w.note(w.control.Flush())
	}
	return w.err
}

// done leaves the connection to the next request.
func (w *writer) done() { w.note(w.control.SetWriteDeadline(time.Time{})) }

func (w *writer) note(err error) {
	if w.err == nil {
		w.err = err
	}
}
