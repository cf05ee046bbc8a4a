// Package kvserve is the example application: a key-value service of counters that owns shards through sdk.Host and keeps them in the
// store process (package kvstore).
//
// It shows what an application owes Shard Manager: Activate raises the storage's term before it reads, every read and write carries the
// term, callbacks are idempotent, repeated requests are recognised, and state goes along in a planned move, so that the new owner starts
// warm. It trusts its own memory only as far as the store confirms it: a write says which version it saw.
package kvserve

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/sdk"
)

// AppName is the app's name in Shard Manager, unless another is chosen.
const AppName = "kv"

// App implements the callbacks of sdk.Host.
type App struct {
	store *kvstore.Client
	log   *slog.Logger
	// identify is called before a shard is activated.
	identify func()
	cold     bool // caches begin empty

	cache cacheMeter

	mu       sync.RWMutex
	held     map[string]*heldShard
	received map[string]map[string]kvstore.Entry // by shard: what ReceiveState got, until AddShard or DropShard
}

// heldShard is what this server knows of a shard at one term.
type heldShard struct {
	meter
	term uint64

	mu      sync.Mutex
	cache   map[string]kvstore.Entry
	changed map[uint64]map[string]struct{} // by target: keys remembered anew since the snapshot for it; nil: none is out
}

var (
	_ sdk.Handler       = (*App)(nil)
	_ sdk.Activator     = (*App)(nil)
	_ sdk.StateSource   = (*App)(nil)
	_ sdk.LoadCollector = (*App)(nil)
)

// NewApp makes an application that holds nothing yet.
func NewApp(store *kvstore.Client, log *slog.Logger) *App {
	return &App{store: store, log: log, identify: func() {}, held: map[string]*heldShard{}, received: map[string]map[string]kvstore.Entry{}}
}

// callbacks are those that a Host is to know of: a cold application has no state that moves.
func (a *App) callbacks() sdk.Handler {
	if !a.cold {
		return a
	}
	return struct {
		sdk.Handler
		sdk.Activator
		sdk.LoadCollector
	}{a, a, a}
}

// Activate raises the storage's term first: from then on the previous owner can change nothing. Only then it takes over the state, from
// the previous owner or, after a failover, from the store.
func (a *App) Activate(ctx context.Context, s sdk.Shard, state []byte) error {
	a.identify()
	if err := a.store.RaiseTerm(ctx, s.ID, s.Term); err != nil {
		return fmt.Errorf("activate: %w", err)
	}
	cache, err := a.handedOver(s, state)
	if err != nil {
		a.log.Warn("state of the previous owner not understood, reading the store", "shard", s.ID, "error", err)
	}
	if a.cold {
		cache = map[string]kvstore.Entry{}
	}
	if cache == nil {
		if cache, err = a.store.Scan(ctx, s.ID, s.Term); err != nil {
			return fmt.Errorf("activate: %w", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[s.ID] = &heldShard{meter: newMeter(), term: s.Term, cache: cache}
	return nil
}

// AddShard has little left to do: Activate did it.
func (a *App) AddShard(_ context.Context, s sdk.Shard) error {
	a.mu.Lock()
	delete(a.received, s.ID)
	a.mu.Unlock()
	_, err := a.find(s)
	return err
}

// DropShard forgets the shard. The store is not touched: it may be another server's by now.
func (a *App) DropShard(_ context.Context, s sdk.Shard) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, s.ID)
	delete(a.received, s.ID)
	return nil
}

// LastState hands the cache over in a planned move.
func (a *App) LastState(_ context.Context, s sdk.Shard) ([]byte, error) {
	held, err := a.find(s)
	if err != nil {
		return nil, err
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	return encodeState(held.cache)
}

// CollectLoad answers each shard's rate, in requests in 1 000 s.
func (a *App) CollectLoad(context.Context) (map[string]map[string]int64, error) {
	a.cache.tell(a.log)
	a.mu.Lock()
	defer a.mu.Unlock()
	loads := make(map[string]map[string]int64, len(a.held))
	for id, held := range a.held {
		held.collect(loads, id)
	}
	return loads, nil
}

// find is the shard as held at the term of an operation or callback.
func (a *App) find(s sdk.Shard) (*heldShard, error) {
	a.mu.RLock()
	held := a.held[s.ID]
	a.mu.RUnlock()
	if held == nil || held.term != s.Term {
		return nil, fmt.Errorf("shard %s is not held at term %d", s.ID, s.Term)
	}
	return held, nil
}

// cached is the last known entry of a key; it may be outdated, which the store finds out.
func (h *heldShard) cached(key string) kvstore.Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cache[key]
}

func (h *heldShard) remember(key string, e kvstore.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Version > h.cache[key].Version {
		h.cache[key] = e
		for _, keys := range h.changed {
			keys[key] = struct{}{}
		}
	}
}

func encodeState(cache map[string]kvstore.Entry) ([]byte, error) {
	state := &kvv1.ShardState{Entries: make([]*kvv1.Entry, 0, len(cache))}
	for key, e := range cache {
		state.Entries = append(state.Entries, &kvv1.Entry{Key: key, Value: e.Value, Version: e.Version})
	}
	return proto.Marshal(state)
}

// decodeState is nil without a state.
func decodeState(state []byte) (map[string]kvstore.Entry, error) {
	if len(state) == 0 {
		return nil, nil
	}
	message := &kvv1.ShardState{}
	if err := proto.Unmarshal(state, message); err != nil {
		return nil, err
	}
	cache := make(map[string]kvstore.Entry, len(message.GetEntries()))
	for _, e := range message.GetEntries() {
		cache[e.GetKey()] = kvstore.Entry{Value: e.GetValue(), Version: e.GetVersion()}
	}
	return cache, nil
}
