package kvserve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

var (
	_ statestream.Source = (*App)(nil)
	_ statestream.Target = (*App)(nil)
)

// maxEntry bounds one entry of a stream, in bytes.
const maxEntry = 1 << 20

// StreamState sends the cache, entry by entry, and notes from then on which keys were remembered anew.
func (a *App) StreamState(_ context.Context, s sdk.Shard, to sdk.Peer, w io.Writer) error {
	held, err := a.find(s)
	if err != nil {
		return err
	}
	held.mu.Lock()
	snapshot := maps.Clone(held.cache) // a lock for as long as the network takes would stop every request
	if held.changed == nil {
		held.changed = map[uint64]map[string]struct{}{}
	}
	held.changed[to.Incarnation] = map[string]struct{}{}
	held.mu.Unlock()
	for key, e := range snapshot {
		if _, err := protodelim.MarshalTo(w, &kvv1.Entry{Key: key, Value: e.Value, Version: e.Version}); err != nil {
			return err
		}
	}
	return nil
}

// StateDelta is what was remembered since.
func (a *App) StateDelta(_ context.Context, s sdk.Shard, to sdk.Peer) ([]byte, error) {
	held, err := a.find(s)
	if err != nil {
		return nil, err
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	changed, ok := held.changed[to.Incarnation]
	if !ok {
		return nil, fmt.Errorf("shard %s: no snapshot was sent to %s", s.ID, to.Server)
	}
	delta := make(map[string]kvstore.Entry, len(changed))
	for key := range changed {
		delta[key] = held.cache[key]
	}
	return encodeState(delta)
}

// EndState stops taking notes.
func (a *App) EndState(s sdk.Shard, to sdk.Peer) {
	held, err := a.find(s)
	if err != nil {
		return // the shard has another term by now, and other notes
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	delete(held.changed, to.Incarnation)
}

// ReceiveState keeps the previous owner's cache aside until Activate says what it is worth.
func (a *App) ReceiveState(_ context.Context, s sdk.Shard, _ sdk.Peer, r io.Reader) error {
	received, err := readEntries(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.received, s.ID)
	if err != nil {
		return fmt.Errorf("receive state: %w", err)
	}
	a.received[s.ID] = received
	return nil
}

func readEntries(r io.Reader) (map[string]kvstore.Entry, error) {
	in, entries := bufio.NewReader(r), map[string]kvstore.Entry{}
	for {
		e := &kvv1.Entry{}
		err := protodelim.UnmarshalOptions{MaxSize: maxEntry}.UnmarshalFrom(in, e)
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		entries[e.GetKey()] = kvstore.Entry{Value: e.GetValue(), Version: e.GetVersion()}
	}
}

// handedOver is the cache that the previous owner handed over: the whole of it, or what it changed since the snapshot that was received.
// It is nil if nobody did: a snapshot alone is older than the store.
func (a *App) handedOver(s sdk.Shard, state []byte) (map[string]kvstore.Entry, error) {
	last, err := decodeState(state)
	if err != nil || state == nil {
		return nil, err
	}
	a.mu.RLock()
	snapshot := a.received[s.ID]
	a.mu.RUnlock()
	if snapshot == nil {
		return last, nil
	}
	cache := maps.Clone(snapshot) // Activate may be repeated
	maps.Copy(cache, last)
	return cache, nil
}
