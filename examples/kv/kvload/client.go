package kvload

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

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
	id     uint64
	prefix string // of request ids
	rpc    kvv1connect.KvServiceClient
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
	response, err := c.rpc.Get(sdk.WithIdempotent(sdk.WithKey(ctx, key)), &kvv1.GetRequest{Key: key})
	return response.GetValue(), err
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
	ctx = sdk.WithRequestID(sdk.WithKey(ctx, key), c.prefix+key+"-"+strconv.FormatUint(number, 10))
	response, err := c.rpc.Increment(ctx, &kvv1.IncrementRequest{
		Key: key, RequestId: &kvv1.RequestId{Client: c.id, Number: number},
	})
	return response.GetValue(), err
}
