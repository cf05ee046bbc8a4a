package consul_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// askedOften is how often a server that is cut off is asked.
const askedOften = 3

// A server that is cut off from the others still answers its clients. It may never answer from what it knew, nor take a write for done that is
// not: with one more server to turn to, everything goes on; with that server alone, nothing is known until it has healed.
func TestServerIsPartitioned(t *testing.T) {
	takesLong(t)
	t.Parallel()
	cluster := consultest.StartParted(t, 3)
	for name, leads := range map[string]bool{"the leader": true, "a follower": false} {
		t.Run(name, func(t *testing.T) {
			cut := serverThat(t, cluster, leads)
			addresses := []string{cut.HTTP}
			for _, s := range cluster.Servers {
				if s != cut {
					addresses = append(addresses, s.HTTP)
				}
			}
			all := part(t, dial(t, consul.Config{Addresses: addresses}))
			alone := within{Store: dial(t, consul.Config{Addresses: addresses[:1]}), root: all.root}
			session := newSession(t, all)
			if _, err := all.Txn(t.Context(), []coord.Op{{Verb: coord.Lock, Key: "leader", Session: session}}); err != nil {
				t.Fatal(err)
			}
			c := &counter{store: all, key: "n"}
			shows, showsAlone := follow(t, all, "n"), follow(t, alone, "n")
			c.countTo(t, 20)
			showsAlone(20)

			cluster.Cut(cut)
			began := time.Now()
			c.countTo(t, 21)
			t.Logf("the next write was acknowledged %v after the cut", time.Since(began).Round(time.Millisecond))
			c.countTo(t, 40)
			shows(40)
			for range askedOften {
				knowsNothing(t, alone)
			}

			cluster.Heal(cut)
			showsAlone(40)
			mine := &counter{store: alone, key: "n", n: c.n, at: c.at}
			mine.countTo(t, 50)
			shows(50)
			checkHeld(t, alone, "leader", session)
		})
	}
}

// knowsNothing asks a server that is cut off: it neither reads nor writes, and says so.
func knowsNothing(t *testing.T, store coord.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	if entry, found, err := store.Get(ctx, "n"); !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("get answers %+v (found %t), %v while it is cut off", entry, found, err)
	}
	if entries, err := store.List(ctx, "n"); !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("list answers %+v, %v while it is cut off", entries, err)
	}
	_, err := store.Txn(ctx, []coord.Op{{Verb: coord.CAS, Key: "n", Value: []byte("never"), Index: 1}})
	if !errors.Is(err, coord.ErrUnavailable) && !errors.Is(err, coord.ErrUnknown) {
		t.Errorf("a transaction answers %v while it is cut off", err)
	}
}

// serverThat finds the leader, or a follower.
func serverThat(t *testing.T, cluster *consultest.Parted, leads bool) (found *consulserver.Server) {
	t.Helper()
	eventually(t, "a leader", func(ctx context.Context) bool {
		if err := cluster.Ready(ctx); err != nil {
			return false
		}
		leader, err := cluster.Leader(ctx)
		for _, s := range cluster.Servers {
			if err == nil && (s == leader) == leads {
				found = s
			}
		}
		return found != nil
	})
	return found
}
