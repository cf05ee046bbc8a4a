package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// elect gives the lock in the store to an allocator, and returns the index of the acquire.
func elect(t *testing.T, store coord.Store, value []byte) uint64 {
	t.Helper()
	ctx := context.Background()
	session, err := store.CreateSession(ctx, coord.SessionSpec{Name: "leader", TTL: 10 * time.Second, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	const key = "shardmanager/c/g/default/leader"
	if held, found, err := store.Get(ctx, key); err != nil {
		t.Fatal(err)
	} else if found && held.Session != "" {
		if err := store.DestroySession(ctx, held.Session); err != nil {
			t.Fatal(err)
		}
	}
	index, err := store.Txn(ctx, []coord.Op{{Verb: coord.Lock, Key: key, Value: value, Session: session}})
	if err != nil {
		t.Fatal(err)
	}
	return uint64(index)
}

func recordOf(t *testing.T, l *leader) []byte {
	t.Helper()
	value, err := wire.Encode(&pb.LeaderRecord{Allocator: "x", Address: l.address})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestElectionIsDiscovered: the store names the leader where no setting names an allocator, and an agent leaves a leader that another one
// has followed, although the old one answers still. A record that cannot be read changes nothing.
func TestElectionIsDiscovered(t *testing.T) {
	t.Parallel()
	store, one, two := memory(t), newLeader(t, 1), newLeader(t, 1)
	cfg := config(t)
	run(t, cfg, store)
	app := application0(t, cfg.Socket)
	app.registered(t)
	one.set(func() { one.epoch = elect(t, store, recordOf(t, one)) })
	eventually(t, "the first leader", func() bool { return one.attachedNow() == 1 })

	elect(t, store, []byte("not a record"))
	two.set(func() { two.epoch = elect(t, store, recordOf(t, two)) })
	eventually(t, "the leader that is elected", func() bool {
		return two.attachedNow() == 1 && one.attachedNow() == 0 && app.pull(t).GetRemainingNs() > 0
	})
	two.mu.Lock()
	defer two.mu.Unlock()
	if hellos := len(two.hellos); hellos != 1 {
		t.Errorf("attached %d times to the leader that was elected", hellos)
	}
}
