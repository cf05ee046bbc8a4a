package virtual_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
	"github.com/shardmanager/shardmanager/sdk/sdktest/virtual"
)

// This file is what docs/testing.md walks through: a service, three mistakes that are easily made in it, and the tests that find them.

// disk is the storage that all servers share, a database for instance. It keeps the highest term of each shard, and refuses writes with a lower one.
type disk struct {
	mu     sync.Mutex
	terms  map[string]uint64
	values map[string]string
}

func (d *disk) raise(s sdk.Shard) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.Term < d.terms[s.ID] {
		return fmt.Errorf("term %d is below %d", s.Term, d.terms[s.ID])
	}
	d.terms[s.ID] = s.Term
	return nil
}

func (d *disk) put(s sdk.Shard, value string, probe *ownership.Server) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.Term < d.terms[s.ID] {
		return fmt.Errorf("term %d is below %d", s.Term, d.terms[s.ID])
	}
	probe.Stored(s) // for the test: the disk takes this write
	d.values[s.ID] = value
	return nil
}

func (d *disk) get(s sdk.Shard) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.values[s.ID]
}

// mistake is what is wrong with a service.
type mistake int

const (
	none mistake = iota
	neverRaises
	acknowledgesEarly
	keepsCache
)

// profiles is a service that keeps one profile for each shard on disk, and the last in a cache.
type profiles struct {
	disk    *disk
	probe   *ownership.Server
	mistake mistake

	mu    sync.Mutex
	cache map[string]string
}

func (p *profiles) Activate(_ context.Context, s sdk.Shard, _ []byte) error {
	if p.mistake == neverRaises {
		return nil
	}
	return p.disk.raise(s)
}

func (p *profiles) AddShard(context.Context, sdk.Shard) error { return nil }

func (p *profiles) DropShard(_ context.Context, s sdk.Shard) error {
	if p.mistake == keepsCache {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.cache, s.ID)
	return nil
}

func (p *profiles) Set(s sdk.Shard, value string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mistake == acknowledgesEarly {
		time.AfterFunc(time.Second, func() { _ = p.disk.put(s, value, p.probe) }) // it will be written some time
	} else if err := p.disk.put(s, value, p.probe); err != nil {
		return err
	}
	p.cache[s.ID] = value
	return nil
}

func (p *profiles) Get(s sdk.Shard) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	value, ok := p.cache[s.ID]
	if !ok {
		value = p.disk.get(s)
		p.cache[s.ID] = value
	}
	return value
}

// service tells the kit how to make and use it.
func service(m mistake) func(*ownership.Checker) sdktest.App {
	return func(checker *ownership.Checker) sdktest.App {
		shared := &disk{terms: map[string]uint64{}, values: map[string]string{}}
		return sdktest.App{
			New: func(_ testing.TB, server string) sdk.Handler {
				return &profiles{disk: shared, probe: checker.Of(server), mistake: m, cache: map[string]string{}}
			},
			Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
				return h.(*profiles).Set(s, value)
			},
			Read:    func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) { return h.(*profiles).Get(s), nil },
			Durable: true,
		}
	}
}

// The service passes five minutes of faults.
func TestService(t *testing.T) {
	virtual.Chaos(t, virtual.Config{App: service(none)}, 7, 5*time.Minute)
}

// A server stands still for 20 s with writes under way. Meanwhile its shards go to others; then it goes on and writes.
func standStill(t *testing.T, c *virtual.Cluster) {
	c.Load(1, 200*time.Millisecond)
	for _, s := range c.Servers() {
		time.Sleep(time.Second)
		c.Pause(s.Name)
		time.Sleep(20 * time.Second)
		c.Resume(s.Name)
	}
	if c.Checker().Operations() == 0 {
		t.Error("nothing was executed")
	}
}

// A server dies right after it has acknowledged a write.
func die(t *testing.T, c *virtual.Cluster) {
	id := c.Shards()[0]
	if err := c.Write(id, "one"); err != nil {
		t.Fatal(err)
	}
	c.Kill(c.Owner(id))
	c.WaitServed(time.Minute)
	if err := c.Read(id); err != nil {
		t.Fatal(err)
	}
}

// A shard goes to another server and comes back.
func comeBack(t *testing.T, c *virtual.Cluster) {
	id := c.Shards()[0]
	first := c.Owner(id)
	second := "a"
	if first == second {
		second = "b"
	}
	for i, server := range []string{first, second, first} {
		c.Move(id, server)
		c.WaitServed(time.Minute)
		if err := c.Read(id); err != nil {
			t.Fatal(err)
		}
		if err := c.Write(id, fmt.Sprint("value ", i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServiceMistakes(t *testing.T) {
	for _, test := range []struct {
		name    string
		mistake mistake
		play    func(*testing.T, *virtual.Cluster)
		want    string
	}{
		{"never raises the term", neverRaises, standStill, "does Activate raise the storage's term"},
		{"acknowledges before it is stored", acknowledgesEarly, die, "an acknowledged write was lost"},
		{"keeps its cache", keepsCache, comeBack, "an acknowledged write was lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			found := virtual.Run(t, virtual.Config{App: service(test.mistake)}, test.play)
			if len(found) == 0 || !strings.Contains(found[0].What, test.want) {
				t.Fatalf("violations %v, want one that says %q", found, test.want)
			}
			t.Logf("found in %s:\n%s", time.Since(began).Round(time.Millisecond), found[0])
			virtual.Test(t, virtual.Config{App: service(none)}, test.play) // without the mistake all is well
		})
	}
}

// Schedules find the same mistakes, without anybody who thought of them.
func TestServiceMistakesFoundBySeed(t *testing.T) {
	const seed, length = 1, 5 * time.Minute
	for _, m := range []mistake{neverRaises, acknowledgesEarly, keepsCache} {
		began := time.Now()
		found := virtual.RunChaos(t, virtual.Config{App: service(m)}, seed, length)
		if len(found) == 0 {
			t.Errorf("seed %d found nothing wrong with mistake %d", seed, m)
			continue
		}
		t.Logf("mistake %d: %d violations in %s, the first: %s", m, len(found), time.Since(began).Round(time.Millisecond), found[0].What)
	}
}

// A schedule is drawn from its seed, so that a failure can be played again.
func ExampleSchedule() {
	for _, step := range virtual.Schedule(7, 3, 30*time.Second) {
		fmt.Println(step)
	}
	// Output:
	// at 3.426s for 2.62s: a: cut off from its agent
	// at 12.215s for 14.96s: c: answers lost
	// at 18.734s for 14.188s: b: agent cut off from the allocator
	// at 28.854s for 2.904s: c: callbacks stuck
}
