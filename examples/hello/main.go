// Command hello is a complete sharded application: it counts, in memory, the greetings of each of its shards.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/shardmanager/shardmanager/sdk"
)

type greeter struct{ shards sync.Map } // shard id → *atomic.Int64
func (g *greeter) AddShard(_ context.Context, s sdk.Shard) error {
	g.shards.LoadOrStore(s.ID, new(atomic.Int64))
	return nil
}
func (g *greeter) DropShard(_ context.Context, s sdk.Shard) error { g.shards.Delete(s.ID); return nil }
func (g *greeter) ServeHTTP(w http.ResponseWriter, r *http.Request) { // runs only at the shard's one owner
	s, _ := sdk.ShardFromContext(r.Context())
	count, _ := g.shards.Load(s.ID)
	_, _ = fmt.Fprintf(w, "greeting %d of shard %s\n", count.(*atomic.Int64).Add(1), s.ID)
}

func main() {
	app, mux := &greeter{}, http.NewServeMux()
	server := http.Server{Addr: "127.0.0.1:9000", Handler: mux, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	host, err := sdk.NewHost("hello", app, sdk.WithDataAddress(server.Addr))
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle(host.Handler())            // for the agent and for other servers
	mux.Handle("/", host.Middleware(app)) // checks shard, term and lease; forwards during a move
	go func() { log.Fatal(host.Run(context.Background())) }()
	log.Fatal(server.ListenAndServe())
}
