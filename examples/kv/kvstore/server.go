package kvstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// maxServed bounds the connections served at once; the next one waits to be accepted.
const maxServed = 1024

// Serve answers clients at a listener until ctx ends; requests under way are answered first.
func Serve(ctx context.Context, listener net.Listener, store *Store) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(serving, func() { _ = listener.Close() })()
	var connections sync.WaitGroup
	defer connections.Wait()
	defer stop()
	slots := make(chan struct{}, maxServed)
	for {
		slots <- struct{}{}
		conn, err := listener.Accept()
		switch {
		case serving.Err() != nil && err == nil:
			return conn.Close()
		case serving.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("store: %w", err)
		}
		connections.Go(func() {
			defer func() { <-slots }()
			serveConn(serving, conn, store)
		})
	}
}

// serveConn answers one client until it leaves, sends nonsense, or ctx ends.
func serveConn(ctx context.Context, conn net.Conn, store *Store) {
	defer func() { _ = conn.Close() }()
	// Only reading is cut short: an answer under way still leaves.
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(past) })()
	reader := bufio.NewReader(conn)
	var in, out []byte
	for {
		body, err := readFrame(reader, in)
		if err != nil {
			return
		}
		r, err := parseRequest(body)
		if err == nil {
			out = store.answer(r, out[:0])
		} else {
			out = appendText(out[:0], statusInvalid, err)
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		in = body
	}
}

// answer executes a request and appends the answer's frame.
func (s *Store) answer(r request, b []byte) []byte {
	switch r.op {
	case opRaiseTerm:
		err := s.RaiseTerm(r.shard, r.term)
		return appendAnswer(b, statusEntry, Entry{}, err)
	case opRead:
		e, err := s.Read(r.shard, r.term, r.key)
		return appendAnswer(b, statusEntry, e, err)
	case opWrite:
		outcome, e, err := s.Write(r.shard, r.term, r.key, r.value, r.seen, r.id)
		return appendAnswer(b, statusOf(outcome), e, err)
	case opScan:
		entries, err := s.Scan(r.shard, r.term)
		return appendEntries(b, entries, err)
	}
	return appendText(b, statusInvalid, fmt.Errorf("unknown operation %d: the client is of another version", r.op))
}

func statusOf(o Outcome) status {
	switch o {
	case Conflict:
		return statusConflict
	case Superseded:
		return statusSuperseded
	case Applied:
	}
	return statusEntry
}

func appendAnswer(b []byte, s status, e Entry, err error) []byte {
	if err != nil {
		return appendRefusal(b, err)
	}
	return endFrame(appendEntry(beginFrame(b, s), e))
}

func appendEntries(b []byte, entries map[string]Entry, err error) []byte {
	if err != nil {
		return appendRefusal(b, err)
	}
	whole := beginFrame(b, statusEntries)
	for key, e := range entries {
		whole = appendKeyed(whole, key, e)
	}
	if len(whole) > maxFrame {
		return appendText(b, statusInvalid, fmt.Errorf("scan: %d entries: the shard is too large for one answer: use more shards", len(entries)))
	}
	return endFrame(whole)
}

func appendRefusal(b []byte, err error) []byte {
	switch {
	case errors.Is(err, ErrStaleTerm):
		return appendText(b, statusStaleTerm, err)
	case errors.Is(err, ErrTermNotRaised):
		return appendText(b, statusNotRaised, err)
	default:
		return appendText(b, statusInvalid, err)
	}
}

func appendText(b []byte, s status, err error) []byte {
	return endFrame(append(beginFrame(b, s), err.Error()...))
}
