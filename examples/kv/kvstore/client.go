package kvstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxConnections bounds the connections of a client; more requests wait for one.
	maxConnections = 64
	// maxIdle bounds those that it keeps while it does not need them: a store serves so many in all, and whoever holds one keeps others waiting.
	maxIdle = 8
	// maxCall bounds a call whose context has no deadline.
	maxCall = 5 * time.Second
)

// past is a deadline that ends reading and writing at once.
var past = time.Unix(1, 0)

// Client calls a store process. It never retries: its callers know what may be repeated. Safe for concurrent use.
type Client struct {
	address string
	slots   chan struct{} // one for each connection in use

	mu   sync.Mutex
	idle []*connection // the last one was used last
}

// connection carries one request at a time.
type connection struct {
	net.Conn
	reader  *bufio.Reader
	in, out []byte
}

// NewClient makes a client of the store at an address, host:port or http://host:port. Nothing is dialled before the first call.
func NewClient(address string) *Client {
	return &Client{address: strings.TrimPrefix(address, "http://"), slots: make(chan struct{}, maxConnections)}
}

// RaiseTerm makes a term the only one that may read and write a shard.
func (c *Client) RaiseTerm(ctx context.Context, shard string, term uint64) error {
	_, _, err := c.entry(ctx, request{op: opRaiseTerm, shard: shard, term: term})
	return err
}

// Read reads one entry.
func (c *Client) Read(ctx context.Context, shard string, term uint64, key string) (Entry, error) {
	_, e, err := c.entry(ctx, request{op: opRead, shard: shard, term: term, key: key})
	return e, err
}

// Write stores a value if the key still has the version that the writer saw; see Store.Write.
func (c *Client) Write(ctx context.Context, shard string, term uint64, key string, value int64, seen uint64, id RequestID) (Outcome, Entry, error) {
	return c.entry(ctx, request{op: opWrite, shard: shard, term: term, key: key, value: value, seen: seen, id: id})
}

// Scan reads all entries of a shard.
func (c *Client) Scan(ctx context.Context, shard string, term uint64) (entries map[string]Entry, err error) {
	err = c.exchange(ctx, request{op: opScan, shard: shard, term: term}, func(s status, body []byte) error {
		if s != statusEntries {
			return refusal(s, body)
		}
		entries, err = parseEntries(body)
		return err
	})
	return entries, err
}

// entry makes a call that is answered by an entry.
func (c *Client) entry(ctx context.Context, r request) (outcome Outcome, e Entry, err error) {
	err = c.exchange(ctx, r, func(s status, body []byte) (err error) {
		switch s {
		case statusEntry:
			outcome = Applied
		case statusConflict:
			outcome = Conflict
		case statusSuperseded:
			outcome = Superseded
		case statusEntries, statusStaleTerm, statusNotRaised, statusInvalid:
			return refusal(s, body)
		}
		e, err = parseEntry(body)
		return err
	})
	return outcome, e, err
}

// refusal is the error of a status with a text.
func refusal(s status, body []byte) error {
	switch s {
	case statusStaleTerm:
		return &refused{text: string(body), cause: ErrStaleTerm}
	case statusNotRaised:
		return &refused{text: string(body), cause: ErrTermNotRaised}
	case statusInvalid:
		return errors.New(string(body))
	case statusEntry, statusConflict, statusSuperseded, statusEntries:
	}
	return fmt.Errorf("unexpected status %d: the store is of another version", s)
}

// refused is an error as the store worded it.
type refused struct {
	text  string
	cause error
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.cause }

// exchange sends a request and has its answer decoded. Whatever ctx's end leaves undecided ends the connection with it.
func (c *Client) exchange(ctx context.Context, r request, decode func(status, []byte) error) error {
	if len(r.shard) > math.MaxUint16 || len(r.key) > math.MaxUint16 {
		return fmt.Errorf("shard of %d bytes, key of %d bytes: at most %d fit", len(r.shard), len(r.key), math.MaxUint16)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.slots }()
	conn, err := c.take(ctx)
	if err != nil {
		return fmt.Errorf("store %s: %w", c.address, err)
	}
	s, body, err := conn.roundTrip(ctx, r)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("store %s: %w", c.address, err)
	}
	err = decode(s, body)
	c.keep(conn)
	return err
}

// keep keeps a connection for the next request, unless there are enough.
func (c *Client) keep(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == maxIdle {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

// take is the connection used last, or a new one.
func (c *Client) take(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	if last := len(c.idle) - 1; last >= 0 {
		conn := c.idle[last]
		c.idle = c.idle[:last]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	conn, err := (&net.Dialer{Timeout: maxCall}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, reader: bufio.NewReader(conn)}, nil
}

// roundTrip fails if ctx ends before the answer is here; the connection is then unusable.
func (c *connection) roundTrip(ctx context.Context, r request) (status, []byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(maxCall)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return 0, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	c.out = r.append(c.out[:0])
	_, err := c.Write(c.out)
	var body []byte
	if err == nil {
		body, err = readFrame(c.reader, c.in)
	}
	switch {
	case !stop():
		return 0, nil, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded): // the connection's clock was faster than the context's
		return 0, nil, context.DeadlineExceeded
	case err != nil:
		return 0, nil, err
	}
	c.in = body
	return status(body[0]), body[1:], nil
}
