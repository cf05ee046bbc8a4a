package sse_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/sse"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const patience = time.Minute

// node is an allocator that leads until it is told otherwise.
type node struct {
	mu      sync.Mutex
	follows bool
	ended   chan struct{}
	status  api.Status
}

func (n *node) Leader() api.Leader {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.follows {
		return nil
	}
	return leader{ended: n.ended}
}

// leader is asked nothing but when it ends.
type leader struct {
	api.Leader
	ended chan struct{}
}

func (l leader) Ended() <-chan struct{} { return l.ended }

func (n *node) Status() api.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

// stepDown ends the leadership; the new leader's admin listener is at an address, or not known.
func (n *node) stepDown(address string) {
	n.mu.Lock()
	n.follows, n.status.Leader, n.status.LeaderAdmin = true, "a2", address
	n.mu.Unlock()
	close(n.ended)
}

// server is a real HTTP server with a log that a test writes.
type server struct {
	*testing.T
	node   *node
	log    *events.Log
	feed   *feed.Feed
	url    string
	client *http.Client
	served chan struct{} // gets one when a request was served
}

const epoch = 17

func newServer(t *testing.T, alive, stalled time.Duration) *server {
	t.Helper()
	s := &server{
		T: t, log: events.NewLog(), served: make(chan struct{}, 100), client: &http.Client{Transport: &http.Transport{}},
		node: &node{ended: make(chan struct{}), status: api.Status{Name: "a1"}},
	}
	s.log.Begin(shard.Epoch{Index: epoch})
	s.feed = feed.New(s.log, alive)
	stream := sse.New(s.node, s.feed, stalled)
	mux := http.NewServeMux()
	mux.HandleFunc(sse.Pattern, func(w http.ResponseWriter, r *http.Request) {
		stream.ServeHTTP(w, r)
		s.served <- struct{}{}
	})
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := transport.NewServer(context.Background(), mux)
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Serve(l) }()
	s.url = "http://" + l.Addr().String() + "/v1/events"
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_ = h.Close() // a reader that does not read is cut off
		<-done
	})
	return s
}

func (s *server) add(names ...string) {
	for _, n := range names {
		s.log.Add(time.Now(), events.Decided{Decision: ledger.Decision{What: n, App: "kv", Shard: "3"}})
	}
}

// message is one block of a stream. Comments are kept apart.
type message struct{ id, kind, data, comment string }

type reader struct {
	*testing.T
	answer *http.Response
	lines  *bufio.Scanner
}

// open asks for events, and resumes after an id unless that is empty.
func (s *server) open(query, last string) *reader {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+query, nil)
	if err != nil {
		s.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = answer.Body.Close() })
	return &reader{T: s.T, answer: answer, lines: bufio.NewScanner(answer.Body)}
}

// block reads up to the next empty line; false: the stream ended.
func (r *reader) block() (m message, ok bool) {
	r.Helper()
	for r.lines.Scan() {
		name, value, _ := strings.Cut(r.lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.kind = value
		case "data":
			m.data = value
		case "retry":
		case "":
			if r.lines.Text() == "" {
				return m, true
			}
			m.comment = value
		default:
			r.Fatalf("a line %q", r.lines.Text())
		}
	}
	return message{}, false
}

// next reads the next event; false: the stream ended.
func (r *reader) next() (message, bool) {
	r.Helper()
	for {
		if m, ok := r.block(); !ok || m.data != "" {
			return m, ok
		}
	}
}

// names reads so many events, fewer if the stream ends, and returns what they are, with the id of the last.
func (r *reader) names(most int) (list []string, last string) {
	r.Helper()
	for len(list) < most {
		m, ok := r.next()
		if !ok {
			break
		}
		last = m.id
		e := new(pb.Event)
		if err := protojson.Unmarshal([]byte(m.data), e); err != nil {
			r.Fatalf("%q: %v", m.data, err)
		}
		switch b := e.GetBody().(type) {
		case *pb.Event_Decision:
			list = append(list, b.Decision.GetWhat())
		default:
			list = append(list, m.kind)
		}
	}
	return list, last
}

func (r *reader) wants(want ...string) (last string) {
	r.Helper()
	got, last := r.names(len(want))
	if !slices.Equal(got, want) {
		r.Errorf("got %q, want %q", got, want)
	}
	return last
}

// A reader gets what there is, then what comes, in order; it resumes by its last id or by `from`, without gap or duplicate.
func TestOrderAndResume(t *testing.T) {
	s := newServer(t, 0, 0)
	s.add("one", "two", "three")
	r := s.open("", "")
	if kind := r.answer.Header.Get("Content-Type"); r.answer.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%s, %q", r.answer.Status, kind)
	}
	last := r.wants("one", "two")
	if last != "0.17.2" {
		t.Errorf("the id is %q", last)
	}
	_ = r.answer.Body.Close()
	s.add("four")
	for _, again := range []*reader{s.open("", last), s.open("?from="+last, ""), s.open("?from=0.17.1", last)} {
		again.wants("three", "four")
	}
	r = s.open("?from=now", "")
	if m, _ := r.block(); m.id != "0.17.4" || m.comment != "alive" {
		t.Errorf("first %+v, want a sign of life with the newest id", m)
	}
	s.add("five")
	r.wants("five")
	if got, _ := s.open("?follow=false", "").names(100); len(got) != 5 {
		t.Errorf("what there is: %q", got)
	}
}

// Every event is delivered once, to readers that resume again and again while events come.
func TestResumeWhileEventsCome(t *testing.T) {
	s := newServer(t, 0, 0)
	const count = 2_000
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range count {
			s.add(fmt.Sprint(i))
		}
	}()
	last := ""
	for next := 0; next < count; {
		r := s.open("", last)
		var list []string
		list, last = r.names(min(137, count-next))
		_ = r.answer.Body.Close()
		for _, name := range list {
			if name != fmt.Sprint(next) {
				t.Fatalf("got %s, want %d", name, next)
			}
			next++
		}
	}
	<-written
}

func TestGaps(t *testing.T) {
	s := newServer(t, 0, 0)
	s.add("one")
	s.open("?follow=false", "0.16.9").wants("gap", "one") // of another leadership
	for range events.KeptMost + 3 {
		s.add("more")
	}
	r := s.open("?kind=server", "0.17.1") // a gap belongs to everybody
	m, _ := r.next()
	if m.kind != "gap" || m.id != "0.17.4" || !strings.Contains(m.data, `"3"`) {
		t.Errorf("got %+v, want a gap of 3", m)
	}
}

func TestFilters(t *testing.T) {
	s := newServer(t, 0, 0)
	status := report.ServerStatus{Server: shard.Server{ID: "a.other", App: "other"}, State: report.Suspect}
	s.add("one")
	s.log.Add(time.Now(), events.LeaderChanged{Allocator: "a1", Leads: true}, events.ServerChanged{Status: status})
	for query, want := range map[string][]string{
		"?follow=false":                           {"one", "leader", "server"},
		"?follow=false&app=kv":                    {"one", "leader"},
		"?follow=false&kind=server":               {"server"},
		"?follow=false&kind=server,leader":        {"leader", "server"},
		"?follow=false&kind=server&kind=decision": {"one", "server"},
		"?follow=false&app=kv&kind=server":        nil,
	} {
		if got, _ := s.open(query, "").names(100); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// A stream without news says that it lives, and what to resume from: also where all news are of no interest.
func TestHeartbeat(t *testing.T) {
	s := newServer(t, 10*time.Millisecond, 0)
	s.add("one")
	r := s.open("?kind=server", "")
	for last := ""; last != "0.17.1"; {
		m, ok := r.block()
		if !ok || m.comment != "alive" || m.data != "" {
			t.Fatalf("got %+v, %t", m, ok)
		}
		last = m.id
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		often := time.NewTicker(time.Millisecond)
		defer often.Stop()
		for {
			select {
			case <-stop:
				return
			case <-often.C:
				s.add("more")
			}
		}
	}()
	for range 3 {
		if m, ok := r.block(); !ok || m.comment != "alive" {
			t.Errorf("got %+v, %t among events of no interest", m, ok)
		}
	}
	close(stop)
	<-stopped
}

func TestWrongParameters(t *testing.T) {
	s := newServer(t, 0, 0)
	for query, want := range map[string]string{
		"?from=x":           `from: expected the id of an event, such as 0.17.42, not "x"`,
		"?from=1.2":         `from: expected the id`,
		"?from=1.2.-3":      `from: expected the id`,
		"?from=1.2.3.4":     `from: expected the id`,
		"?ap=kv":            `expected the parameters from, app, kind, follow, not "ap"; did you mean app?`,
		"?app=a&app=b":      "app: expected it once, not 2 times",
		"?kind=severs":      `kind: expected decision or server or leader, not "severs"; did you mean server?`,
		"?kind=":            `kind: expected`,
		"?kind=Server":      `kind: expected`,
		"?kind=unspecified": `kind: expected`,
		"?follow=perhaps":   `follow: expected true or false, not "perhaps"`,
		"?from=%zz":         `the query cannot be read`,
	} {
		r := s.open(query, "")
		text, err := io.ReadAll(r.answer.Body)
		if r.answer.StatusCode != http.StatusBadRequest || err != nil || !strings.HasPrefix(string(text), want) || strings.Count(string(text), "\n") != 1 {
			t.Errorf("%s: %s %q, %v", query, r.answer.Status, text, err)
		}
	}
	if r := s.open("", "now"); r.answer.StatusCode != http.StatusBadRequest {
		t.Errorf("Last-Event-ID: now: %s", r.answer.Status)
	}
	answer, err := s.client.Post(s.url, "text/plain", nil)
	if err != nil || answer.StatusCode != http.StatusMethodNotAllowed {
		t.Fatalf("POST: %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	if answer, err = s.client.Head(s.url); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("HEAD: %v, %v", answer, err)
	}
}

// When the leadership ends, readers are told everything of it, and then who leads. Whoever asks a follower is sent there, with what it asked for.
func TestLeaderChanges(t *testing.T) {
	first, second := newServer(t, 0, 0), newServer(t, 0, 0)
	first.add("one")
	r := first.open("?app=kv", "")
	last := r.wants("one")
	address := strings.TrimSuffix(strings.TrimPrefix(second.url, "http://"), "/v1/events")
	first.log.Add(time.Now(), events.LeaderChanged{Allocator: "a1"})
	first.node.stepDown(address)
	r.wants("leader")
	var end struct{ Leader, Address string }
	m, _ := r.next()
	if err := json.Unmarshal([]byte(m.data), &end); err != nil || m.kind != "end" || m.id != "" || end.Leader != "a2" || end.Address != address {
		t.Errorf("at the end %+v, %v", m, err)
	}
	if _, more := r.block(); more {
		t.Error("the stream goes on")
	}
	second.log.Begin(shard.Epoch{Index: epoch + 1})
	second.add("two")
	first.open("?app=kv", last).wants("gap", "two")
}

func TestNobodyLeads(t *testing.T) {
	for address, want := range map[string]string{
		"":                "allocator a1 does not lead: the leader is a2: try again soon\n",
		"unix:///run/a/b": "allocator a1 does not lead: the leader is a2: try again soon\n",
	} {
		s := newServer(t, 0, 0)
		s.node.stepDown(address)
		r := s.open("", "")
		text, err := io.ReadAll(r.answer.Body)
		if err != nil || r.answer.StatusCode != http.StatusServiceUnavailable || r.answer.Header.Get("Retry-After") == "" || string(text) != want {
			t.Errorf("%q: %s %q, %v", address, r.answer.Status, text, err)
		}
	}
}

// A reader that does not read is cut off, while another gets everything; the log is written at its own pace.
func TestSlowReaderIsCutOff(t *testing.T) {
	s := newServer(t, 0, 2*time.Second)
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/v1/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: a1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	const count = 8_000 // of 4 KiB: more than sockets hold
	r := s.open("", "")
	long := strings.Repeat("x", 4<<10)
	for range count {
		s.add(long)
	}
	for i := range count {
		if m, ok := r.next(); !ok || m.id != fmt.Sprintf("0.17.%d", i+1) {
			t.Fatalf("event %d of the other: %+v, %t", i, m, ok)
		}
	}
	select {
	case <-s.served: // the slow one; the other follows still
	case <-time.After(patience):
		t.Fatal("it is not cut off")
	}
	n, _ := io.Copy(io.Discard, conn) // what the sockets hold, then the end
	if n == 0 || n > count*4<<10 {
		t.Errorf("it was sent %d bytes", n)
	}
}

// The bound on readers is reached.
func TestReadersAreBounded(t *testing.T) {
	s := newServer(t, 0, 0)
	for range feed.ReadersMost {
		leave, err := s.feed.Enter()
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	r := s.open("", "")
	if text, err := io.ReadAll(r.answer.Body); err != nil || r.answer.StatusCode != http.StatusTooManyRequests || r.answer.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s %q, %v", r.answer.Status, text, err)
	}
}
