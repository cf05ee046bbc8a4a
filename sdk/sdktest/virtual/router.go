package virtual

import (
	"context"
	"net/http"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest/internal/plane"
)

// Router is a client's, in the Cluster's network: it follows the leader's shard map and ends with the Cluster.
func (c *Cluster) Router(options ...sdk.RouterOption) *sdk.Router {
	c.t.Helper()
	router, err := sdk.NewRouter(AppName, append(options, sdk.WithAgent(""), sdk.WithAllocators(plane.Node+":80"))...)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx := c.around(c.ctx, clientNode)
	c.running.Go(func() { _ = router.Run(ctx) })
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := router.Ready(ready); err != nil {
		c.t.Fatal(err)
	}
	return router
}

// Client sends requests through a Router of the Cluster, HTTP/1.1; a Connect client takes it too.
func (c *Cluster) Client(router *sdk.Router) *http.Client {
	transport := &http.Transport{DialContext: c.net.Dialer(clientNode), MaxIdleConnsPerHost: 16}
	context.AfterFunc(c.ctx, transport.CloseIdleConnections)
	return &http.Client{Transport: router.Transport(transport)}
}
