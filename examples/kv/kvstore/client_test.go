package kvstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startServer serves a new store and returns its address and the store.
func startServer(t *testing.T) (string, *Store) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store := New()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, store) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String(), store
}

func TestClientSeesWhatTheStoreSays(t *testing.T) {
	address, _ := startServer(t)
	c := NewClient("http://" + address)
	ctx := t.Context()
	if _, err := c.Read(ctx, "1", 3, "k"); !errors.Is(err, ErrTermNotRaised) {
		t.Errorf("read before the term was raised: %v", err)
	}
	if err := c.RaiseTerm(ctx, "1", 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Scan(ctx, "1", 2); !errors.Is(err, ErrStaleTerm) || !strings.Contains(err.Error(), "shard 1: 2 is below 3") {
		t.Errorf("scan at an old term: %v", err)
	}
	if err := c.RaiseTerm(ctx, "1", 2); !errors.Is(err, ErrStaleTerm) {
		t.Errorf("raise an old term: %v", err)
	}
	for _, w := range []struct {
		seen, number uint64
		value        int64
		want         Outcome
		entry        Entry
	}{{0, 1, -5, Applied, Entry{-5, 1}}, {0, 2, 9, Conflict, Entry{-5, 1}}, {1, 2, 9, Applied, Entry{9, 2}}, {2, 1, 9, Superseded, Entry{9, 2}}} {
		outcome, e, err := c.Write(ctx, "1", 3, "k", w.value, w.seen, RequestID{1 << 63, w.number})
		if err != nil || outcome != w.want || e != w.entry {
			t.Errorf("write %+v: %d, %+v, %v", w, outcome, e, err)
		}
	}
	if e, err := c.Read(ctx, "1", 3, "k"); err != nil || e != (Entry{9, 2}) {
		t.Errorf("read %+v, %v", e, err)
	}
	if _, _, err := c.Write(ctx, "1", 3, "", 1, 0, RequestID{1, 1}); err != nil {
		t.Error(err)
	}
	entries, err := c.Scan(ctx, "1", 3)
	if diff := cmp.Diff(map[string]Entry{"k": {9, 2}, "": {1, 1}}, entries); diff != "" || err != nil {
		t.Errorf("scan: %v %s", err, diff)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	address, store := startServer(t)
	if err := store.RaiseTerm("1", 1); err != nil {
		t.Fatal(err)
	}
	c := NewClient(address)
	var group sync.WaitGroup
	for i := range 4 * maxConnections {
		group.Go(func() {
			if _, _, err := c.Write(t.Context(), "1", 1, fmt.Sprint("k", i), 1, 0, RequestID{1, 1}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	opened := len(c.idle)
	if opened == 0 || opened > maxConnections {
		t.Errorf("%d connections are open, at most %d may be", opened, maxConnections)
	}
	for range 10 {
		if _, err := c.Read(t.Context(), "1", 1, "k1"); err != nil {
			t.Error(err)
		}
	}
	if len(c.idle) != opened {
		t.Errorf("%d connections, then %d: idle ones must be used", opened, len(c.idle))
	}
}

// TestAbandonedConnectionIsNotReused: the answer to an abandoned request must not reach the next one.
func TestAbandonedConnectionIsNotReused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	arrived := make(chan struct{}, 2)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go func() {
				if _, err := readFrame(bufio.NewReader(conn), nil); err == nil {
					arrived <- struct{}{}
				}
			}()
		}
	}()
	c := NewClient(listener.Addr().String())
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(errors.New("the caller left"))
	}()
	if _, err := c.Read(ctx, "1", 1, "k"); err == nil || !strings.Contains(err.Error(), "the caller left") {
		t.Errorf("abandoned read: %v", err)
	}
	if len(c.idle) != 0 {
		t.Error("the connection of an abandoned request is kept")
	}
	late, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if _, err := c.Read(late, "1", 1, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read without an answer: %v", err)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	address, _ := startServer(t)
	ask := func(frame string) string {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Write([]byte(frame)); err != nil {
			t.Fatal(err)
		}
		body, err := readFrame(bufio.NewReader(conn), nil)
		if err != nil {
			return "closed"
		}
		if status(body[0]) != statusInvalid {
			t.Errorf("%q: status %d", frame, body[0])
		}
		return string(body[1:])
	}
	unknown := request{op: 99, shard: "1"}
	lying := request{op: opRead, shard: "1"}.append(nil)
	lying[4+requestHeader-2] = 200 // the shard is shorter
	for frame, want := range map[string]string{
		"\x01\x00\x00\x00\x01":        errShortFrame.Error(),
		"\xff\xff\xff\xff\x01":        "closed",
		"\x00\x00\x00\x00":            "closed",
		string(unknown.append(nil)):   "unknown operation 99",
		string(lying):                 errShortFrame.Error(),
		"GET / HTTP/1.1\r\nHost: x\r": "closed",
	} {
		if got := ask(frame); !strings.Contains(got, want) {
			t.Errorf("%q: answered %q, want %q", frame, got, want)
		}
	}
}

func TestUnreachableStore(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if _, err := NewClient(address).Read(t.Context(), "1", 1, "k"); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v, want one with the address", err)
	}
	if err := NewClient(address).RaiseTerm(t.Context(), strings.Repeat("x", 1<<17), 1); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a shard's id that does not fit: %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(request{op: opWrite, shard: "1", key: "k", term: 1, value: -1, seen: 2, id: RequestID{3, 4}}.append(nil)[4:])
	f.Add(appendKeyed(appendKeyed(nil, "k", Entry{1, 2}), "", Entry{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRequest(b); err == nil && string(r.append(nil)[4:]) != string(b) {
			t.Errorf("request %+v does not encode to what it was parsed from", r)
		}
		_, _ = parseEntries(b) // must not panic
	})
}

// TestManyClientsShareAStore: a burst of each in turn takes as many connections as a store serves; whoever is done leaves them to the others.
func TestManyClientsShareAStore(t *testing.T) {
	address, store := startServer(t)
	if err := store.RaiseTerm("s", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range maxServed/maxConnections + 8 {
		c := NewClient(address)
		t.Cleanup(func() {
			for _, conn := range c.idle {
				_ = conn.Close()
			}
		})
		var burst sync.WaitGroup
		for range maxConnections { // each has a connection before any is given back
			burst.Go(func() {
				conn, err := c.take(ctx)
				if err == nil {
					_, _, err = conn.roundTrip(ctx, request{op: opRead, shard: "s", term: 1, key: "k"})
				}
				if err != nil {
					t.Error(err)
					return
				}
				c.keep(conn)
			})
		}
		burst.Wait()
		if t.Failed() || len(c.idle) > maxIdle {
			t.Fatalf("%d connections are kept", len(c.idle))
		}
	}
}
