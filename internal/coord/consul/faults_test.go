package consul_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// callTimeout is that of allocators and agents.
const callTimeout = 3 * time.Second

// counter counts up in one key, each step guarded by the index of the last, and decides unknown outcomes by reading (PROTOCOL R12).
type counter struct {
	store coord.Store
	key   string
	n     int
	at    coord.Index
}

// step counts once; false: not this time, and it is known to have happened or not.
func (c *counter) step(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	index, err := c.store.Txn(ctx, []coord.Op{{Verb: coord.CAS, Key: c.key, Value: []byte(strconv.Itoa(c.n + 1)), Index: c.at}})
	var conflict *coord.ConflictError
	switch {
	case err == nil:
		c.n, c.at = c.n+1, index
		return true
	case errors.As(err, &conflict):
		t.Fatalf("counter at %d: %v: an outcome was taken for known that was not", c.n, err)
	case errors.Is(err, coord.ErrUnknown):
		c.decide(t)
	case !errors.Is(err, coord.ErrUnavailable):
		t.Fatalf("counter: %v", err)
	}
	return false
}

// countTo counts until a number is reached.
func (c *counter) countTo(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for c.n < n {
		if !c.step(t) && time.Now().After(deadline) {
			t.Fatalf("counter at %d: not at %d within %s", c.n, n, patience)
		}
	}
}

// decide makes the lost transaction one that can commit no more, and learns whether it did.
func (c *counter) decide(t *testing.T) {
	t.Helper()
	eventually(t, "an unknown outcome to be decided", func(ctx context.Context) bool {
		entry, _, err := c.store.Get(ctx, c.key)
		if err != nil {
			return false
		}
		index, err := c.store.Txn(ctx, []coord.Op{{Verb: coord.CAS, Key: c.key, Value: entry.Value, Index: entry.Modify}})
		if err != nil {
			return false // that one may have committed, too, and then the next reading shows it
		}
		n, err := strconv.Atoi(string(entry.Value))
		if err != nil || (n != c.n && n != c.n+1) {
			t.Fatalf("counter at %d reads %q", c.n, entry.Value)
		}
		c.n, c.at = n, index
		return true
	})
}

// eventually tries until it holds; each try has the time of a call.
func eventually(t *testing.T, what string, holds func(context.Context) bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		ok := holds(ctx)
		cancel()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// follow watches a counter's key and returns a function that waits until the watch shows a number.
func follow(t *testing.T, store coord.Store, key string) (shows func(n int)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	states := make(chan string, 1<<16)
	ended := make(chan error, 1)
	go func() {
		ended <- store.Watch(ctx, key, func(entries []coord.Entry) {
			if len(entries) == 1 {
				states <- string(entries[0].Value)
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
	return func(n int) {
		t.Helper()
		deadline := time.After(patience)
		for {
			select {
			case state := <-states:
				if state == strconv.Itoa(n) {
					return
				}
			case <-deadline:
				t.Fatalf("the watch did not show %d within %s", n, patience)
			}
		}
	}
}

// Whatever happens to a server, counting goes on, nothing that was acknowledged is lost, the watch follows, and a session and its lock outlast it.
func TestServersFail(t *testing.T) {
	takesLong(t)
	t.Parallel()
	leading := func(t *testing.T, c *consulserver.Cluster) *consulserver.Server {
		t.Helper()
		var leader *consulserver.Server
		eventually(t, "a leader", func(ctx context.Context) (ok bool) {
			found, err := c.Leader(ctx)
			leader = found
			return err == nil
		})
		return leader
	}
	kill := func(t *testing.T, s *consulserver.Server) {
		t.Helper()
		if _, err := s.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	signal := func(t *testing.T, s *consulserver.Server, sig syscall.Signal) {
		t.Helper()
		if _, err := s.Signal(sig, false); err != nil {
			t.Fatal(err)
		}
	}
	cluster := consultest.Start(t, 3, nil)
	for name, fault := range map[string]func(t *testing.T, goOn func()){
		"the leader is killed": func(t *testing.T, goOn func()) {
			kill(t, leading(t, cluster))
			goOn()
		},
		"the leader is stopped": func(t *testing.T, goOn func()) {
			leader := leading(t, cluster)
			signal(t, leader, syscall.SIGSTOP)
			goOn()
			signal(t, leader, syscall.SIGCONT)
		},
		"a follower that is asked is stopped": func(t *testing.T, goOn func()) {
			leader := leading(t, cluster)
			asked := cluster.Servers[0]
			if asked == leader {
				asked = cluster.Servers[1]
			}
			signal(t, asked, syscall.SIGSTOP)
			goOn()
			signal(t, asked, syscall.SIGCONT)
		},
		"all are killed, one after the other": func(t *testing.T, goOn func()) {
			for _, s := range cluster.Servers {
				kill(t, s)
				goOn()
				if err := cluster.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := cluster.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			store := part(t, dial(t, consul.Config{Addresses: cluster.Addresses()}))
			session := newSession(t, store)
			if _, err := store.Txn(t.Context(), []coord.Op{{Verb: coord.Lock, Key: "leader", Session: session}}); err != nil {
				t.Fatal(err)
			}
			c := &counter{store: store, key: "n"}
			shows := follow(t, store, "n")
			c.countTo(t, c.n+20)
			fault(t, func() {
				began := time.Now()
				c.countTo(t, c.n+1)
				t.Logf("the next write was acknowledged %v after the fault", time.Since(began).Round(time.Millisecond))
				c.countTo(t, c.n+20)
				shows(c.n)
			})
			c.countTo(t, c.n+20)
			shows(c.n)
			checkHeld(t, store, "leader", session)
		})
	}
}

// checkHeld fails unless a session still holds a key.
func checkHeld(t *testing.T, store coord.Store, key string, session coord.SessionID) {
	t.Helper()
	eventually(t, "the lock to be seen", func(ctx context.Context) bool {
		_, err := store.Txn(ctx, []coord.Op{{Verb: coord.CheckSession, Key: key, Session: session}})
		var conflict *coord.ConflictError
		if errors.As(err, &conflict) {
			t.Fatalf("the session did not outlast the fault: %v", err)
		}
		return err == nil
	})
}

func newSession(t *testing.T, store coord.Store) coord.SessionID {
	t.Helper()
	id, err := store.CreateSession(t.Context(), coord.SessionSpec{Name: t.Name(), TTL: time.Minute, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A restored snapshot takes the data and its indexes back; a watch shows the old state, and what is written next.
func TestIndexGoesBackwards(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	store := part(t, dial(t, consul.Config{Addresses: cluster.Addresses()}))
	c := &counter{store: store, key: "n"}
	shows := follow(t, store, "n")
	c.step(t)
	shows(1)
	client, err := api.NewClient(&api.Config{Address: cluster.Addresses()[0]})
	if err != nil {
		t.Fatal(err)
	}
	saved, _, err := client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = saved.Close() }()
	var snapshot bytes.Buffer
	if _, err := snapshot.ReadFrom(saved); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.step(t)
	}
	shows(11)
	if err := client.Snapshot().Restore(nil, &snapshot); err != nil {
		t.Fatal(err)
	}
	shows(1)
	entry, _, err := store.Get(t.Context(), "n")
	if err != nil || entry.Modify >= c.at {
		t.Fatalf("after the restore the index is %d, before it %d (%v): it did not go backwards", entry.Modify, c.at, err)
	}
	c.n, c.at = 1, entry.Modify
	c.step(t)
	shows(2)
}
