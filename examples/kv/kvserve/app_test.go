package kvserve

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// startStore serves an empty store.
func startStore(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- kvstore.Serve(ctx, listener, kvstore.New()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("store: %v", err)
		}
	})
	return listener.Addr().String()
}

// numbered lets a service of counters keep texts: each text is a number.
type numbered struct {
	mu       sync.Mutex
	texts    []string
	requests uint64
	counts   map[string]string // text by shard and value, where values are counts
}

// reached notes which text a value of a shard stands for; at finds it, empty for 0.
func (n *numbered) reached(shard string, value int64, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.counts == nil {
		n.counts = map[string]string{}
	}
	n.counts[fmt.Sprint(shard, value)] = text
}

func (n *numbered) at(shard string, value int64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts[fmt.Sprint(shard, value)]
}

// next is the number of a text and of a request.
func (n *numbered) next(text string) (int64, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.texts = append(n.texts, text)
	n.requests++
	return int64(len(n.texts) - 1), n.requests
}

// write stores a text as an increment stores a value, from what the application remembers.
func (n *numbered) write(ctx context.Context, h sdk.Handler, s sdk.Shard, text string) error {
	a := h.(*App)
	held, err := a.find(s)
	if err != nil {
		return err
	}
	value, request := n.next(text)
	outcome, e, err := a.store.Write(ctx, s.ID, s.Term, "k", value, held.cached("k").Version, kvstore.RequestID{Client: 1, Number: request})
	if err != nil || outcome != kvstore.Applied {
		return fmt.Errorf("outcome %d: %w", outcome, err)
	}
	held.remember("k", e)
	return nil
}

func (n *numbered) read(ctx context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
	e, err := h.(*App).store.Read(ctx, s.ID, s.Term, "k")
	if err != nil || e.Version == 0 {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.texts[e.Value], nil
}

// TestContract runs the SDK's own kit against the application.
func TestContract(t *testing.T) {
	var n numbered
	stores := map[testing.TB]string{}
	sdktest.Check(t, sdktest.App{
		New: func(t testing.TB, _ string) sdk.Handler {
			if stores[t] == "" {
				stores[t] = startStore(t)
			}
			return NewApp(kvstore.NewClient(stores[t]), slog.New(slog.DiscardHandler))
		},
		Write: n.write, Read: n.read, Durable: true,
	})
}

func TestStateAndLoad(t *testing.T) {
	ctx := t.Context()
	client := kvstore.NewClient(startStore(t))
	from, to := NewApp(client, slog.New(slog.DiscardHandler)), NewApp(client, slog.New(slog.DiscardHandler))
	at := func(term uint64) sdk.Shard { return sdk.Shard{App: AppName, ID: "1", Term: term} }
	if err := from.Activate(ctx, at(1), nil); err != nil {
		t.Fatal(err)
	}
	held, err := from.find(at(1))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]kvstore.Entry{"a": {Value: 5, Version: 2}, "b": {Value: -1, Version: 1}}
	for key, e := range want {
		held.remember(key, e)
	}
	held.remember("a", kvstore.Entry{Value: 4, Version: 1}) // older: forgotten
	state, err := from.LastState(ctx, at(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Activate(ctx, at(2), state); err != nil {
		t.Fatal(err)
	}
	taken, err := to.find(at(2))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, taken.cache); diff != "" {
		t.Error(diff)
	}
	if _, err := to.find(at(1)); err == nil {
		t.Error("held at an older term too")
	}
}

// TestLoadIsARate: it does not depend on how often somebody asks, and one odd interval does not carry it far.
func TestLoadIsARate(t *testing.T) {
	begun := time.Now()
	h := &heldShard{meter: meter{counted: begun, rate: -1}}
	for _, step := range []struct {
		at       time.Duration
		requests int64
		want     int64
	}{
		{time.Second, 100, -1}, // too short to tell
		{2 * time.Second, 100, 100_000},
		{3 * time.Second, 50, 100_000},
		{6 * time.Second, 350, 100_000},
		{8 * time.Second, 0, 75_000},
	} {
		h.requests.Add(step.requests)
		if h.count(begun.Add(step.at)); h.rate != step.want {
			t.Errorf("after %v: %d requests in 1 000 s, want %d", step.at, h.rate, step.want)
		}
	}
	app := &App{held: map[string]*heldShard{"1": h, "2": {meter: newMeter()}}}
	load, err := app.CollectLoad(t.Context())
	if err != nil || len(load) != 1 || len(load["1"]) != 1 {
		t.Errorf("%v, %v: want the rate of shard 1 only, that of 2 is not known yet", load, err)
	}
}

// TestStateNotUnderstood: the store has everything, so a damaged state costs a scan.
func TestStateNotUnderstood(t *testing.T) {
	ctx := t.Context()
	client := kvstore.NewClient(startStore(t))
	app := NewApp(client, slog.New(slog.DiscardHandler))
	s := sdk.Shard{App: AppName, ID: "1", Term: 1}
	if err := client.RaiseTerm(ctx, "1", 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Write(ctx, "1", 1, "a", 9, 0, kvstore.RequestID{Client: 1, Number: 1}); err != nil {
		t.Fatal(err)
	}
	if err := app.Activate(ctx, s, []byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	held, err := app.find(s)
	if err != nil {
		t.Fatal(err)
	}
	if e := held.cached("a"); e != (kvstore.Entry{Value: 9, Version: 1}) {
		t.Errorf("cached %+v", e)
	}
}
