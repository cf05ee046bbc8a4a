package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Pauses of Watch between attempts.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// Client is a store in another process. It retries nothing but watches. A call ends with its context; the caller sets the time.
type Client struct {
	endpoint transport.Endpoint
	service  shardmanagerv1connect.StoreServiceClient
}

var _ coord.Store = (*Client)(nil)

// NewClient makes a client of the store at host:port, http://host:port or unix:///path. Nothing is dialled before the first call.
func NewClient(address string) (*Client, error) {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	// Values are compressed already: gzip would only cost time.
	service := shardmanagerv1connect.NewStoreServiceClient(endpoint.Client, endpoint.URL, connect.WithAcceptCompression("gzip", nil, nil))
	return &Client{endpoint: endpoint, service: service}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.endpoint.Close() }

// Txn commits all operations or none.
func (c *Client) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	if err := coord.Check(ops); err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	request := &pb.TxnRequest{Ops: make([]*pb.StoreOp, len(ops))}
	for i, op := range ops {
		request.Ops[i] = &pb.StoreOp{
			Verb: pb.StoreVerb(op.Verb), Key: op.Key, Value: op.Value, Index: uint64(op.Index), Session: string(op.Session),
		}
	}
	answer, err := call(ctx, c.service.Txn, request, changes)
	if err != nil {
		return 0, named("transaction", err)
	}
	if answer.GetConflict() {
		at := int(answer.GetFailedOp())
		if at >= len(ops) {
			return 0, fmt.Errorf("transaction: %w: conflict at operation %d of %d", coord.ErrUnavailable, at, len(ops))
		}
		return 0, &coord.ConflictError{Op: at, Key: ops[at].Key, Reason: answer.GetReason()}
	}
	return coord.Index(answer.GetIndex()), nil
}

// Get reads one key.
func (c *Client) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	answer, err := call(ctx, c.service.List, &pb.ListRequest{Prefix: key}, reads)
	if err != nil {
		return coord.Entry{}, false, named("get "+key, err)
	}
	if found := answer.GetEntries(); len(found) > 0 && found[0].GetKey() == key { // in key order, so the key itself comes first
		return entryFromProto(found[0]), true, nil
	}
	return coord.Entry{}, false, nil
}

// List reads every key with a prefix, in key order.
func (c *Client) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	answer, err := call(ctx, c.service.List, &pb.ListRequest{Prefix: prefix}, reads)
	if err != nil {
		return nil, named("list "+prefix, err)
	}
	return entriesFromProto(answer.GetEntries()), nil
}

// CreateSession begins a session. After an unknown outcome there may be one that nobody renews; it ends by itself.
func (c *Client) CreateSession(ctx context.Context, spec coord.SessionSpec) (coord.SessionID, error) {
	if err := checkSpec(spec); err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	answer, err := call(ctx, c.service.CreateSession, specToProto(spec), changes)
	if err != nil {
		return "", named("create session", err)
	}
	return coord.SessionID(answer.GetSession()), nil
}

// RenewSession reports false if there is no such session.
func (c *Client) RenewSession(ctx context.Context, id coord.SessionID) (bool, error) {
	answer, err := call(ctx, c.service.RenewSession, &pb.RenewSessionRequest{Session: string(id)}, changes)
	if err != nil {
		return false, named("renew session "+string(id), err)
	}
	return answer.GetFound(), nil
}

// DestroySession ends a session.
func (c *Client) DestroySession(ctx context.Context, id coord.SessionID) error {
	if _, err := call(ctx, c.service.DestroySession, &pb.DestroySessionRequest{Session: string(id)}, changes); err != nil {
		return named("destroy session "+string(id), err)
	}
	return nil
}

// Watch calls fn with the whole prefix, first at once and then after every change, until ctx ends; it reconnects by itself, and then
// calls fn again, also if nothing changed.
func (c *Client) Watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(maxPause), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		if c.watchOnce(ctx, prefix, fn) {
			pause.Reset()
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return ctx.Err()
}

// watchOnce follows one stream to its end and reports whether it ever delivered. Why it ended does not matter: the next one begins with
// the whole state.
func (c *Client) watchOnce(ctx context.Context, prefix string, fn func([]coord.Entry)) (delivered bool) {
	ctx, cancel := context.WithCancel(ctx) // lets go of the stream
	defer cancel()
	stream, err := c.service.Watch(ctx, &pb.StoreServiceWatchRequest{Prefix: prefix})
	if err != nil {
		return false
	}
	for stream.Receive() {
		fn(entriesFromProto(stream.Msg().GetEntries()))
		delivered = true
	}
	_ = stream.Close()
	return delivered
}

func entriesFromProto(entries []*pb.StoreEntry) []coord.Entry {
	out := make([]coord.Entry, len(entries))
	for i, e := range entries {
		out[i] = entryFromProto(e)
	}
	return out
}

// effect says what a lost answer means: nothing for reads, an unknown outcome for changes.
type effect uint8

const (
	reads effect = iota + 1
	changes
)

// call makes one request and types its error by what is known of its fate.
func call[Q, A any](ctx context.Context, method func(context.Context, *Q) (*A, error), request *Q, what effect) (*A, error) {
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(coord.ErrUnavailable, err)
	}
	var sent atomic.Bool // the request got a connection: from here on it may arrive
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	answer, err := method(traced, request)
	if err == nil {
		return answer, nil
	}
	return nil, fromWire(err, what == changes && sent.Load())
}

// said is an error that the store itself answered, in its words.
type said struct {
	text string
	kind error // of coord; nil: a bad request
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.kind }

// fromWire is the reverse of toWire for what the store said itself; what we infer instead depends on whether it may have happened.
func fromWire(err error, mayHaveHappened bool) error {
	lost := coord.ErrUnavailable
	if mayHaveHappened {
		lost = coord.ErrUnknown
	}
	detail, ok := wire.DetailOf(err)
	if !ok || !connect.IsWireError(err) {
		return fmt.Errorf("%w: %w", lost, err)
	}
	answer := &said{text: detail.GetExpected()}
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument:
	case connect.CodeOutOfRange:
		answer.kind = coord.ErrTooLarge
	case connect.CodeResourceExhausted:
		answer.kind = coord.ErrFull
	case connect.CodeUnavailable:
		answer.kind = coord.ErrUnavailable
	default: // the store's own unknown outcome, and codes that it does not use
		answer.kind = lost
	}
	return answer
}

// named says what was asked, unless the store's answer says it already.
func named(op string, err error) error {
	var answer *said
	if errors.As(err, &answer) {
		return err
	}
	return fmt.Errorf("%s: %w", op, err)
}
