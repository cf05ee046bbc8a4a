package sdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

const testShard = "07"

// app is a small application: counters in memory, handed over in planned moves. It checks that its callbacks never overlap per shard.
type app struct {
	mu       sync.Mutex
	calls    []string
	data     map[string]map[string]int // per shard, per key
	busy     map[string]bool
	failing  map[string]error // per callback
	onChange chan struct{}    // closed at every call
}

func newApp() *app {
	return &app{
		data: map[string]map[string]int{}, busy: map[string]bool{}, failing: map[string]error{}, onChange: make(chan struct{}),
	}
}

func (a *app) call(name string, s sdk.Shard, do func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprintf("%s %s@%d", name, s.ID, s.Term))
	close(a.onChange)
	a.onChange = make(chan struct{})
	if err := a.failing[name]; err != nil {
		return err
	}
	do()
	return nil
}

func (a *app) fail(name string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failing[name] = err
}

func (a *app) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// waitCalls returns once call was seen n times.
func (a *app) waitCalls(t *testing.T, call string, n int) {
	t.Helper()
	ctx := testContext(t)
	for {
		a.mu.Lock()
		seen, changed := 0, a.onChange
		for _, had := range a.calls {
			if had == call {
				seen++
			}
		}
		a.mu.Unlock()
		if seen >= n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("fewer than %d calls %q: %q", n, call, a.seen())
		}
	}
}

func (a *app) AddShard(_ context.Context, s sdk.Shard) error { return a.call("AddShard", s, func() {}) }

func (a *app) DropShard(_ context.Context, s sdk.Shard) error {
	return a.call("DropShard", s, func() { delete(a.data, s.ID) })
}

func (a *app) PrepareAddShard(_ context.Context, s sdk.Shard, _ sdk.Peer) error {
	return a.call("PrepareAddShard", s, func() {})
}

func (a *app) Activate(_ context.Context, s sdk.Shard, state []byte) error {
	counters := map[string]int{}
	if state != nil {
		if err := json.Unmarshal(state, &counters); err != nil {
			return err
		}
	}
	return a.call("Activate", s, func() {
		if a.data[s.ID] == nil || state != nil { // resumed: what is in memory is the truth
			a.data[s.ID] = counters
		}
	})
}

func (a *app) LastState(_ context.Context, s sdk.Shard) (state []byte, err error) {
	failed := a.call("LastState", s, func() { state, err = json.Marshal(a.data[s.ID]) })
	if failed != nil {
		return nil, failed
	}
	return state, err
}

func (a *app) CollectLoad(context.Context) (map[string]map[string]int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	loads := map[string]map[string]int64{"not-held": {"keys": 1}}
	for id, counters := range a.data {
		loads[id] = map[string]int64{"keys": int64(len(counters))}
	}
	return loads, nil
}

// ServeHTTP counts the key in the body and answers the new value.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s, ok := sdk.ShardFromContext(r.Context())
	if !ok {
		http.Error(w, "no shard in the context", http.StatusInternalServerError)
		return
	}
	a.mu.Lock()
	counters := a.data[s.ID]
	before := counters[string(key)]
	a.mu.Unlock()
	for range 100 { // an operation takes a while; each key has one writer, so only a hand-over in between could lose the update
		runtime.Gosched()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if counters == nil {
		http.Error(w, "executed without state", http.StatusInternalServerError)
		return
	}
	counters[string(key)] = before + 1
	_, _ = fmt.Fprint(w, counters[string(key)])
}

func (a *app) counters(shardID string) map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.data[shardID])
}

// mountApp serves the application at /count behind the Middleware.
func mountApp(handler http.Handler) func(*sdk.Host, *http.ServeMux) {
	return func(h *sdk.Host, mux *http.ServeMux) { mux.Handle("/count", h.Middleware(handler)) }
}

// answer is what a request got.
type answer struct {
	status  int
	body    string
	outcome string
	hint    string
}

// send makes one request to a server.
func send(ctx context.Context, s *sdktest.Server, path, shardID, body string, headers ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Address+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{}, err
	}
	if shardID != "" {
		request.Header.Set(sdk.HeaderShard, shardID)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	got := answer{
		status: response.StatusCode, body: string(text), outcome: response.Header.Get(sdk.HeaderOutcome), hint: response.Header.Get(sdk.HeaderHint),
	}
	return got, err
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// witness is an Observer of several Hosts on one machine: it remembers who had the right to execute when.
type witness struct {
	mu         sync.Mutex
	owned      map[uint64][2]int64 // term → from, to
	operations map[uint64][2]int64 // term → first start, last end
	count      int
}

func newWitness() *witness {
	return &witness{owned: map[uint64][2]int64{}, operations: map[uint64][2]int64{}}
}

func (w *witness) Activated(_ string, term uint64, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned[term] = [2]int64{at, math.MaxInt64}
}

func (w *witness) Released(_ string, term uint64, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned[term] = [2]int64{w.owned[term][0], at}
}

func (*witness) LeaseExtended(int64) {}
func (*witness) LeaseRevoked(int64)  {}

func (w *witness) Operation(_ string, term uint64, start, end int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	span, ok := w.operations[term]
	if !ok {
		span = [2]int64{start, end}
	}
	w.operations[term] = [2]int64{min(span[0], start), max(span[1], end)}
}

// check fails if two terms overlap, or an operation ran outside its term.
func (w *witness) check(t *testing.T, terms int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.owned) != terms || w.count == 0 {
		t.Errorf("%d terms and %d operations were observed, want %d terms and some operations", len(w.owned), w.count, terms)
	}
	for term, span := range w.owned {
		if next, ok := w.owned[term+1]; ok && next[0] < span[1] {
			t.Errorf("term %d was activated %d ns before term %d was released", term+1, span[1]-next[0], term)
		}
		if ran, ok := w.operations[term]; ok && (ran[0] < span[0] || ran[1] > span[1]) {
			t.Errorf("term %d: operations from %d to %d, the right to execute from %d to %d", term, ran[0], ran[1], span[0], span[1])
		}
	}
}
