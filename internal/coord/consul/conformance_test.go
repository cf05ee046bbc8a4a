package consul_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/coordtest"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

const (
	// testTTL leaves the suite three tenths of a second to look before a session ends.
	testTTL = 3 * time.Second
	// patience is how long a test waits for what must happen, on a busy machine too.
	patience = time.Minute
)

func TestOneServerConforms(t *testing.T) { conforms(t, 1) }

func TestThreeServersConform(t *testing.T) {
	takesLong(t)
	conforms(t, 3)
}

// takesLong skips, in short runs, what runs the same code for minutes against three servers.
func takesLong(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("three servers take minutes: run without -short")
	}
}

// conforms runs the suite; the stores of its tests are parts of one Consul. Its tests run side by side, but for those that restart Consul.
func conforms(t *testing.T, servers int) {
	cluster := consultest.Start(t, servers, nil)
	coordtest.Run(t, func(t *testing.T) coordtest.Harness {
		if !strings.Contains(t.Name(), "/restarts/") {
			t.Parallel()
		}
		var networks []*coordtest.Network
		var addresses []string
		for _, address := range cluster.Addresses() {
			n := coordtest.NewNetwork(t, address, coordtest.HTTP1)
			networks, addresses = append(networks, n), append(addresses, n.Address())
		}
		store := part(t, dial(t, consul.Config{Addresses: addresses}))
		return coordtest.Harness{
			Store: store, TTL: testTTL,
			Pass: func(d time.Duration) { <-time.After(d) }, // Consul's clock is the real one
			LoseAnswers: func(lose bool) {
				for _, n := range networks {
					n.LoseAnswers(lose)
				}
			},
			Unreachable: func() {
				for _, n := range networks {
					n.Cut()
				}
			},
			Restart: func() coord.Store {
				restart(t, cluster)
				return store
			},
		}
	})
}

func restart(t *testing.T, cluster *consulserver.Cluster) {
	t.Helper()
	if err := cluster.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, cfg consul.Config) *consul.Store {
	t.Helper()
	store, err := consul.New(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// within is a store inside another: all its keys have a prefix there.
type within struct {
	coord.Store
	root string
}

var parts atomic.Int64

// part makes an empty store inside a Consul that other tests use, too.
func part(t *testing.T, store coord.Store) within {
	t.Helper()
	return within{Store: store, root: fmt.Sprintf("part-%d/", parts.Add(1))}
}

func (w within) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	moved := make([]coord.Op, len(ops))
	for i, op := range ops {
		op.Key = w.root + op.Key
		moved[i] = op
	}
	index, err := w.Store.Txn(ctx, moved)
	if conflict := (*coord.ConflictError)(nil); errors.As(err, &conflict) {
		conflict.Key = strings.TrimPrefix(conflict.Key, w.root)
	}
	return index, err
}

func (w within) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	entry, found, err := w.Store.Get(ctx, w.root+key)
	entry.Key = strings.TrimPrefix(entry.Key, w.root)
	return entry, found, err
}

func (w within) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	entries, err := w.Store.List(ctx, w.root+prefix)
	w.strip(entries)
	return entries, err
}

func (w within) Watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
	return w.Store.Watch(ctx, w.root+prefix, func(entries []coord.Entry) {
		w.strip(entries)
		fn(entries)
	})
}

func (w within) strip(entries []coord.Entry) {
	for i := range entries {
		entries[i].Key = strings.TrimPrefix(entries[i].Key, w.root)
	}
}
