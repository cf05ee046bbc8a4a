package sdk_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/shardmanager/shardmanager/sdk"
)

// visits counts visits per shard, in memory.
type visits struct {
	mu    sync.Mutex
	count map[string]int
}

// AddShard is called when this process becomes primary of a shard. An application with storage raises the storage's term to s.Term here,
// then reads.
func (v *visits) AddShard(_ context.Context, s sdk.Shard) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count[s.ID] = 0
	return nil
}

// DropShard is called when it is not any more, and nothing of it runs.
func (v *visits) DropShard(_ context.Context, s sdk.Shard) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.count, s.ID)
	return nil
}

// ServeHTTP runs only while this process is primary of the request's shard.
func (v *visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, _ := sdk.ShardFromContext(r.Context())
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count[s.ID]++
	_, _ = fmt.Fprintf(w, "visit %d of shard %s at term %d", v.count[s.ID], s.ID, s.Term)
}

func ExampleHost() {
	app := &visits{count: map[string]int{}}
	host, err := sdk.NewHost("visits", app,
		sdk.WithDataAddress("10.0.0.7:8080"), // where other machines reach the mux below
		sdk.WithAgentAddress("unix:///tmp/no-agent-here.sock"),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle(host.Handler())                 // the agent and other servers call this
	mux.Handle("/visit", host.Middleware(app)) // clients call this, with the header that sdk.Router sets
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- host.Run(ctx) }() // for as long as the process serves

	// There is no agent in this example, so nobody has given this process a shard or a lease.
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/visit", nil)
	request.Header.Set(sdk.HeaderShard, "07")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	fmt.Println(response.StatusCode, response.Header.Get(sdk.HeaderOutcome))
	fmt.Println(string(body))

	stop()
	fmt.Println("run:", <-ran)
	// Output:
	// 503 not-executed
	// {"code":"unavailable","message":"shard 07: not-executed: this server is not registered"}
	// run: <nil>
}

// Work that no request causes holds a token too: so the shard does not leave while it runs, and its context ends when it has to.
func ExampleHost_Begin() {
	host, err := sdk.NewHost("visits", &visits{count: map[string]int{}}, sdk.WithDataAddress("10.0.0.7:8080"))
	if err != nil {
		fmt.Println(err)
		return
	}
	compact := func(ctx context.Context, shard string) error {
		ctx, token, err := host.Begin(ctx, shard)
		if err != nil {
			return err // not primary, or no lease: nothing was done
		}
		// ... write with token.Shard().Term, and stop when ctx ends ...
		_ = ctx
		return token.End() // an error: the lease ended meanwhile; only the term protected the storage
	}
	err = compact(context.Background(), "07")
	outcome, _ := sdk.OutcomeOf(err)
	fmt.Println(outcome)
	// Output:
	// not-executed
}
