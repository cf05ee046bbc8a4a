package statestream_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

// store keeps values of one shard in memory, and takes them along when it moves.
type store struct {
	mu       sync.Mutex
	values   map[string]string
	received map[string]string          // what ReceiveState got; nil: nothing
	changed  map[uint64]map[string]bool // by target: keys written since its snapshot began
}

var (
	_ sdk.Activator      = (*store)(nil)
	_ sdk.StateSource    = (*store)(nil)
	_ statestream.Source = (*store)(nil)
	_ statestream.Target = (*store)(nil)
)

func newStore() *store {
	return &store{values: map[string]string{}, changed: map[uint64]map[string]bool{}}
}

// set is an operation.
func (t *store) set(key, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.values[key] = value
	for _, keys := range t.changed {
		keys[key] = true
	}
}

// StreamState copies under the lock and writes without it: operations go on meanwhile.
func (t *store) StreamState(_ context.Context, _ sdk.Shard, to sdk.Peer, w io.Writer) error {
	t.mu.Lock()
	snapshot := maps.Clone(t.values)
	t.changed[to.Incarnation] = map[string]bool{}
	t.mu.Unlock()
	return gob.NewEncoder(w).Encode(snapshot)
}

func (t *store) StateDelta(_ context.Context, _ sdk.Shard, to sdk.Peer) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delta := map[string]string{}
	for key := range t.changed[to.Incarnation] {
		delta[key] = t.values[key]
	}
	return encode(delta)
}

func (t *store) EndState(_ sdk.Shard, to sdk.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.changed, to.Incarnation)
}

// LastState serves targets that do not receive streams.
func (t *store) LastState(context.Context, sdk.Shard) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return encode(t.values)
}

func (t *store) ReceiveState(_ context.Context, _ sdk.Shard, _ sdk.Peer, r io.Reader) error {
	var snapshot map[string]string
	err := gob.NewDecoder(r).Decode(&snapshot)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // to the end: only that says that all of it was right
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.received = nil
	if err == nil {
		t.received = snapshot
	}
	return err
}

func (t *store) Activate(_ context.Context, _ sdk.Shard, state []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if state == nil {
		return nil // nobody handed over
	}
	values := map[string]string{}
	maps.Copy(values, t.received)
	if len(state) > 0 {
		var delta map[string]string
		if err := gob.NewDecoder(bytes.NewReader(state)).Decode(&delta); err != nil {
			return err
		}
		maps.Copy(values, delta)
	}
	t.values = values
	return nil
}

func encode(values map[string]string) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(values)
	return b.Bytes(), err
}

// What a Host does with the callbacks in a planned move; between servers the stream goes over the network.
func Example() {
	ctx, s := context.Background(), sdk.Shard{App: "app", ID: "7", Term: 1}
	a, b := newStore(), newStore()
	from, to := sdk.Peer{Server: "a.app", Incarnation: 1}, sdk.Peer{Server: "b.app", Incarnation: 2}
	a.set("city", "Bern")
	a.set("river", "Aare")

	var stream bytes.Buffer
	check(a.StreamState(ctx, s, to, &stream))
	a.set("city", "Basel") // a serves on while the stream is on its way
	check(b.ReceiveState(ctx, s, from, &stream))

	delta, err := a.StateDelta(ctx, s, to) // nothing runs at a any more
	check(err)
	s.Term = 2
	check(b.Activate(ctx, s, delta))
	a.EndState(s, to)
	fmt.Println(b.values["city"], b.values["river"])
	// Output: Basel Aare
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
