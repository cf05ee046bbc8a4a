package sdk_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

// A client sends each request to the server that owns its key, and never learns where that is.
func ExampleRouter() {
	agent, stop := exampleCluster()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	router, err := sdk.NewRouter("kv", sdk.WithAgent(agent)) // outside of an example, the default address is the right one
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = router.Run(ctx) }()
	if err := router.Ready(ctx); err != nil {
		fmt.Println(err)
		return
	}

	client := &http.Client{Transport: router.Transport(nil)}
	for _, user := range []string{"alice", "bob"} {
		req, err := http.NewRequestWithContext(sdk.WithKey(ctx, user), http.MethodGet, "http://kv/"+user, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		response, err := client.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		fmt.Printf("%s\n", body)
	}
	// Output:
	// shard 1 answers /alice
	// shard 2 answers /bob
}

// Lookup only says where a key is, for those who send requests themselves.
func ExampleRouter_LookupString() {
	router, stop := exampleRouter()
	defer stop()
	route, ok := router.LookupString("alice")
	fmt.Println(ok, route.Shard(), route.Server(), route.Term())
	// Output: true 1 host-1.kv 1
}

// Do is for protocols other than HTTP: the function is called again, with the route of that moment, as long as its error says that nothing
// was executed.
func ExampleRouter_Do() {
	router, stop := exampleRouter()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	attempt := 0
	err := router.Do(ctx, "alice", func(_ context.Context, route sdk.Route) error {
		attempt++
		if attempt == 1 {
			return &sdk.Error{Outcome: sdk.NotExecuted, Reason: "the shard is on its way"}
		}
		fmt.Printf("attempt %d at %s\n", attempt, route.Server())
		return nil
	})
	fmt.Println(err)
	// Output:
	// attempt 2 at host-1.kv
	// <nil>
}

// With a Connect client, the Interceptor finds the key in the request.
func ExampleRouter_Interceptor() {
	router, stop := exampleRouter()
	defer stop()
	type message = wrapperspb.StringValue
	keyOf := func(req connect.AnyRequest) (string, bool) {
		m, ok := req.Any().(*message) // a generated client's request has a field for the key
		return m.GetValue(), ok
	}
	client := connect.NewClient[message, message](&http.Client{Transport: router.Transport(nil)}, "http://kv/echo.v1.EchoService/Say",
		connect.WithInterceptors(router.Interceptor(keyOf)))
	answer, err := client.CallUnary(context.Background(), connect.NewRequest(wrapperspb.String("bob")))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Msg.Value)
	// Output: shard 2 answers bob
}

// exampleRouter is ready to route in an example cluster.
func exampleRouter() (*sdk.Router, func()) {
	agent, stop := exampleCluster()
	router, err := sdk.NewRouter("kv", sdk.WithAgent(agent))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = router.Run(ctx)
	}()
	if err := router.Ready(ctx); err != nil {
		panic(err)
	}
	return router, func() {
		cancel()
		<-done
		stop()
	}
}

// exampleCluster is an application with four shards on one server, and somebody who tells its shard map.
func exampleCluster() (agent string, stop func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "shard %s answers %s", r.Header.Get(sdk.HeaderShard), r.URL.Path)
	})
	const say = "/echo.v1.EchoService/Say"
	mux.Handle(say, connect.NewUnaryHandler(say, func(_ context.Context, req *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
		return connect.NewResponse(wrapperspb.String("shard " + req.Header().Get(sdk.HeaderShard) + " answers " + req.Msg.Value)), nil
	}))
	application := httptest.NewServer(mux)

	server := shard.Server{ID: "host-1.kv", App: "kv", Agent: "host-1", DataAddress: application.Listener.Addr().String()}
	var entries []shard.Entry
	for i := range shard.Index(4) {
		entries = append(entries, shard.Entry{Index: i, Primary: server.ID, Term: 1})
	}
	m, err := shard.NewMap("kv", shard.Version{Counter: 1}, shard.HashSpace{Shards: 4}, []shard.Server{server}, entries)
	if err != nil {
		panic(err)
	}
	hub := mapfeed.NewHub(mapfeed.HubConfig{})
	hub.Set(m)
	maps := http.NewServeMux()
	maps.Handle(shardmanagerv1connect.NewShardMapServiceHandler(hub))
	listener, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	feed := transport.NewServer(context.Background(), maps)
	go func() { _ = feed.Serve(listener) }()
	return listener.Addr().String(), func() {
		_ = feed.Close()
		application.Close()
	}
}
