package kvstore

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
)

const (
	// maxConnections bounds the connections to the store; more requests wait for one.
	maxConnections = 64
	// maxCall bounds a call whose context has no deadline.
	maxCall = 5 * time.Second
)

// Client calls a store process. It never retries: its callers know what may be repeated.
type Client struct {
	rpc kvv1connect.StoreServiceClient
}

// NewClient makes a client of the store at a base URL, http://host:port. Nothing is dialled before the first call.
func NewClient(url string) *Client {
	pool := &http.Transport{
		MaxConnsPerHost: maxConnections, MaxIdleConnsPerHost: maxConnections, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	return &Client{rpc: kvv1connect.NewStoreServiceClient(&http.Client{Transport: pool}, url, connect.WithAcceptCompression("gzip", nil, nil))}
}

// RaiseTerm makes a term the only one that may read and write a shard.
func (c *Client) RaiseTerm(ctx context.Context, shard string, term uint64) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := c.rpc.RaiseTerm(ctx, &kvv1.RaiseTermRequest{Shard: shard, Term: term})
	return asRefusal(err)
}

// Scan reads all entries of a shard.
func (c *Client) Scan(ctx context.Context, shard string, term uint64) (map[string]Entry, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	response, err := c.rpc.Scan(ctx, &kvv1.ScanRequest{Shard: shard, Term: term})
	if err != nil {
		return nil, asRefusal(err)
	}
	entries := make(map[string]Entry, len(response.GetEntries()))
	for _, e := range response.GetEntries() {
		entries[e.GetKey()] = Entry{Value: e.GetValue(), Version: e.GetVersion()}
	}
	return entries, nil
}

// Read reads one entry.
func (c *Client) Read(ctx context.Context, shard string, term uint64, key string) (Entry, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	response, err := c.rpc.Read(ctx, &kvv1.ReadRequest{Shard: shard, Term: term, Key: key})
	if err != nil {
		return Entry{}, asRefusal(err)
	}
	return Entry{Value: response.GetValue(), Version: response.GetVersion()}, nil
}

// Write stores a value if the key still has the version that the writer saw; see Store.Write.
func (c *Client) Write(ctx context.Context, shard string, term uint64, key string, value int64, seen uint64, id RequestID) (Outcome, Entry, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	response, err := c.rpc.Write(ctx, &kvv1.WriteRequest{
		Shard: shard, Term: term, Key: key, Value: value, Seen: seen,
		RequestId: &kvv1.RequestId{Client: id.Client, Number: id.Number},
	})
	if err != nil {
		return 0, Entry{}, asRefusal(err)
	}
	entry := Entry{Value: response.GetValue(), Version: response.GetVersion()}
	switch response.GetResult() {
	case kvv1.WriteResponse_RESULT_APPLIED:
		return Applied, entry, nil
	case kvv1.WriteResponse_RESULT_CONFLICT:
		return Conflict, entry, nil
	case kvv1.WriteResponse_RESULT_SUPERSEDED:
		return Superseded, entry, nil
	case kvv1.WriteResponse_RESULT_UNSPECIFIED:
	}
	return 0, Entry{}, fmt.Errorf("write: shard %s: unknown result %d: the store is of another version", shard, response.GetResult())
}

// asRefusal gives a refusal because of the term its sentinel back.
func asRefusal(err error) error {
	switch connect.CodeOf(err) {
	case codeStaleTerm:
		return fmt.Errorf("%w: %w", ErrStaleTerm, err)
	case codeTermNotRaised:
		return fmt.Errorf("%w: %w", ErrTermNotRaised, err)
	default:
		return err
	}
}

// bounded gives a context without a deadline one.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, maxCall)
}
