package e2e

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/dev/ports"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// The tests of this file are promise 7, static stability: what goes on without allocators, and without the coordination store.

// at sleeps until so long after an instant: an outage has a length.
func at(since time.Time, d time.Duration) { time.Sleep(time.Until(since.Add(d))) }

// long says how long something takes in `make test`, and with everything.
func long(usual, all time.Duration) time.Duration {
	if os.Getenv(everything) != "" {
		return all
	}
	return usual
}

// storeOf runs an embedded store until the end of the test, and returns its address.
func storeOf(t *testing.T) string {
	t.Helper()
	free := ports.New()
	t.Cleanup(func() { _ = free.Release() })
	address, err := free.Take(0)
	if err != nil {
		t.Fatal(err)
	}
	daemon(t, binary, nil, "store", "--listen", address, "--data-dir", filepath.Join(t.TempDir(), "store"))
	return address
}

// Every allocator is down for several times the validity of a lease: no request fails. An agent restarts in a planned way, another is killed, and a
// router begins anew: all of them have what is on disk.
func TestNothingStopsWithoutAllocators(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "alone", "default", size{allocators: 2, agents: 3}, []string{"--store-address", storeOf(t)}, "")
	outage := long(40*time.Second, 5*time.Minute)
	sources := []string{"--allocators", strings.Join(f.serve, ",")}
	f.run("100", sources...)
	before := f.owners()

	down := time.Now()
	f.kill(f.allocators...)
	at(down, outage/4) // leases of the leader are over
	run := f.status(1).GetRun()
	if _, err := f.agents[1].Signal(syscall.SIGUSR2, false); err != nil {
		t.Fatal(err)
	}
	if problem := f.restarted(1, run).GetRestartProblem(); problem != "" {
		t.Error(problem)
	}
	at(down, outage/2)
	f.kill(f.agents[2])
	f.start(f.agents[2])
	first := f.rest()
	f.run("100", sources...) // nobody serves a map any more
	at(down, outage)
	for _, u := range f.allocators {
		f.start(u)
	}
	f.await(time.Minute, "a leader that says what was so before", func() bool { return maps.Equal(before, f.owners()) })
	second := f.rest()

	if n := failed(first) + failed(second); n > 0 {
		t.Errorf("%d of %d requests failed", n, len(first)+len(second))
	}
	f.overlaps()
}

// Consul's leader is killed, and then together with the allocator's: nobody notices. No server is fenced, every shard keeps its term.
func TestNobodyFencesWhileConsulElects(t *testing.T) {
	t.Parallel()
	consul := consultest.Start(t, 3, nil)
	f := newFleet(t, "elect", "default", size{allocators: 2, agents: 3}, onCluster(consul.Addresses()), "")
	f.run("100", "--allocators", strings.Join(f.serve, ","))
	before := f.owners()
	for _, both := range []bool{false, true} {
		leader, err := consul.Leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lead := f.leading()
		if lead < 0 {
			t.Fatal("no allocator leads")
		}
		f.kill(leader.Unit)
		if both {
			f.kill(f.allocators[lead])
		}
		if err := consul.Ready(t.Context()); err != nil { // it has elected
			t.Fatal(err)
		}
		f.await(time.Minute, "an allocator to lead by the word of the Consul that is left", func() bool {
			return f.leading() >= 0 && (!both || f.leading() != lead)
		})
		if err := consul.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if both {
			f.start(f.allocators[lead])
		}
	}
	f.await(time.Minute, "a leader that says what was so before", func() bool { return maps.Equal(before, f.owners()) })
	if list := f.rest(); failed(list) > 0 {
		t.Errorf("%d of %d requests failed", failed(list), len(list))
	}
	f.overlaps()
}

func onCluster(addresses []string) []string {
	return []string{"--store", "consul", "--consul-addresses", strings.Join(addresses, ",")}
}

// coordination is a store that can be away.
type coordination struct {
	flags []string
	units []*process.Unit
	start func() error // and wait until it answers
}

func consulStore(t *testing.T) coordination {
	cluster := consultest.Start(t, 3, nil)
	c := coordination{flags: onCluster(cluster.Addresses()), start: func() error { return cluster.Start(t.Context()) }}
	for _, s := range cluster.Servers {
		c.units = append(c.units, s.Unit)
	}
	return c
}

func embeddedStore(t *testing.T) coordination {
	free, starter, dir := ports.New(), process.NewStarter(), t.TempDir()
	address, err := free.Take(0)
	if err != nil {
		t.Fatal(err)
	}
	u := &process.Unit{Name: "store", Binary: binary, Args: []string{"store", "--listen", address, "--data-dir", dir}, Log: filepath.Join(dir, "log"),
		Starter: starter, Died: func(_ *process.Unit, err error) { t.Error(err) }}
	t.Cleanup(func() {
		if err := errors.Join(u.Stop(time.Minute), free.Release()); err != nil {
			t.Error(err)
		}
		starter.Close()
	})
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	return coordination{flags: []string{"--store-address", address}, units: []*process.Unit{u}, start: u.Start}
}

// The store is away: the leader vouches for leader.validity more, then exclusive apps stop with their leases, and those that hold, and caches, serve on.
// When it is back, everything is served again without anybody's help.
func TestWhoServesOnWithoutTheStore(t *testing.T) {
	t.Parallel()
	t.Run("consul", func(t *testing.T) { whoServesOn(t, consulStore(t)) })
	t.Run("embedded", func(t *testing.T) {
		if os.Getenv(everything) == "" {
			t.Skipf("it is as with Consul: set %s=1, or run make e2e", everything)
		}
		whoServesOn(t, embeddedStore(t))
	})
}

func whoServesOn(t *testing.T, store coordination) {
	profile, vouched, validity, outage := "fast", 5*time.Second, 2500*time.Millisecond, 25*time.Second
	if os.Getenv(everything) != "" {
		profile, vouched, validity, outage = "default", 12*time.Second, 6*time.Second, time.Minute
	}
	n := size{allocators: 1, agents: 2}
	exclusive := newFleet(t, "exclusive", profile, n, store.flags, "")
	hold := newFleet(t, "hold", profile, n, store.flags, "on_coordination_loss: hold\naccept_overlap: true\n")
	cache := newFleet(t, "cache", profile, n, store.flags, "exclusive: false\n")
	fleets := []*fleet{exclusive, hold, cache}
	before := map[*fleet]map[int]owner{}
	for _, f := range fleets {
		f.run("60", "--allocators", strings.Join(f.serve, ","))
		before[f] = f.owners()
	}

	down, since := clock.Now().Raw, time.Now()
	exclusive.kill(store.units...) // crashed, and what it knows is on disk
	at(since, outage)
	back := clock.Now().Raw
	if err := store.start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range fleets {
		f.await(time.Minute, "every shard to be served as before", func() bool { return maps.Equal(before[f], f.owners()) })
	}
	time.Sleep(2 * time.Second) // every shard is asked for
	for _, f := range fleets {
		list := f.rest()
		if f == exclusive {
			fencedInTime(t, list, down, back, vouched, validity)
			f.overlaps()
		} else if failed(list) > 0 {
			t.Errorf("%s: %d of %d requests failed", f.name, failed(list), len(list))
		}
	}
}

// fencedInTime checks that an exclusive app served for as long as it could be vouched for, no longer, and again soon after the store was back.
func fencedInTime(t *testing.T, list []requests.Request, down, back int64, vouched, validity time.Duration) {
	t.Helper()
	var last, again int64
	for _, r := range list {
		switch {
		case r.Outcome == requests.OK && r.End > down && r.End < back:
			last = max(last, r.End)
		case r.Outcome == requests.OK && r.End >= back && (again == 0 || r.End < again):
			again = r.End
		case r.Outcome == requests.Wrong:
			t.Errorf("a wrong answer: %+v", r)
		}
	}
	served := time.Duration(last - down)
	// The lock was proven up to an interval of proofs before, and the last grant asked for up to an interval before the last that was given.
	const slack = 3 * time.Second
	if most, least := vouched+shard.CoverDrift(validity), vouched+validity-slack; served > most || served < least {
		t.Errorf("served for %v without the store, expected %v to %v", served, least, most)
	}
	const soon = 30 * time.Second
	if again == 0 || time.Duration(again-back) > soon {
		t.Errorf("served again %v after the store's return was begun, expected at most %v", time.Duration(again-back), soon)
	}
	t.Logf("served for %v without the store, and again %v after its return", served, time.Duration(again-back))
}
