package kvload

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/examples/kv/kvserve"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

const (
	// idlePerServer is how many idle connections to one server are kept: what a burst opened must not be closed and opened again.
	idlePerServer = 256
	// dialTimeout bounds making a connection; the Router then tries again.
	dialTimeout = time.Second
)

// client calls kv.v1.KvService through the Router.
type client struct {
	id           uint64
	prefix       string // of request ids
	rpc          kvv1connect.KvServiceClient
	hits, misses atomic.Int64 // of servers' caches, as answers say
}

func newClient(router *sdk.Router, id uint64) *client {
	pool := &http.Transport{
		MaxIdleConnsPerHost: idlePerServer, IdleConnTimeout: time.Minute, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
	}
	// The Router puts the server in the place of the host, and Messages are too small to compress.
	rpc := kvv1connect.NewKvServiceClient(&http.Client{Transport: router.Transport(pool)}, "http://"+app, connect.WithAcceptCompression("gzip", nil, nil))
	return &client{id: id, prefix: strconv.FormatUint(id, 16) + "-", rpc: rpc}
}

func (c *client) get(ctx context.Context, key string) (int64, error) {
	ctx, call := connect.NewClientContext(sdk.WithIdempotent(sdk.WithKey(ctx, key)))
	response, err := c.rpc.Get(ctx, &kvv1.GetRequest{Key: key})
	c.count(call, err)
	return response.GetValue(), err
}

// count counts what an answer says of the server's cache, if it says anything.
func (c *client) count(call connect.CallInfo, err error) {
	if err != nil {
		return
	}
	switch call.ResponseHeader().Get(kvserve.HeaderCache) {
	case kvserve.CacheHit:
		c.hits.Add(1)
	case kvserve.CacheMiss:
		c.misses.Add(1)
	}
}

// getNearest asks any replica, and says whether a secondary answered, and how far that may be behind; −1: it does not say.
func (c *client) getNearest(ctx context.Context, key string) (value int64, secondary bool, staleness time.Duration, err error) {
	ctx, call := connect.NewClientContext(sdk.WithNearestRead(sdk.WithKey(ctx, key)))
	response, err := c.rpc.Get(ctx, &kvv1.GetRequest{Key: key})
	if err != nil {
		return 0, false, 0, err
	}
	header := call.ResponseHeader()
	staleness, stated := sdk.StalenessOf(header)
	if !stated {
		staleness = -1
	}
	return response.GetValue(), header.Get(sdk.HeaderRole) != "", staleness, nil
}

// increment may be repeated by the Router under its request id: the application recognises repetitions by client and number.
func (c *client) increment(ctx context.Context, key string, number uint64) (int64, error) {
	ctx, call := connect.NewClientContext(sdk.WithRequestID(sdk.WithKey(ctx, key), c.prefix+key+"-"+strconv.FormatUint(number, 10)))
	response, err := c.rpc.Increment(ctx, &kvv1.IncrementRequest{
		Key: key, RequestId: &kvv1.RequestId{Client: c.id, Number: number},
	})
	c.count(call, err)
	return response.GetValue(), err
}
