package virtual

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
	"github.com/shardmanager/shardmanager/sdk/sdktest/ownership"
)

// storage checks terms.
type storage struct {
	mu     sync.Mutex
	terms  map[string]uint64
	values map[string]string
}

func (s *storage) raise(id string, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.terms[id] {
		return fmt.Errorf("term %d is below %d", term, s.terms[id])
	}
	s.terms[id] = term
	return nil
}

func (s *storage) write(at sdk.Shard, value string, probe *ownership.Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Term < s.terms[at.ID] {
		return errors.New("an old term")
	}
	probe.Stored(at)
	s.values[at.ID] = value
	return nil
}

func (s *storage) read(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[id]
}

// durable keeps values in storage; fault is what is wrong with it.
type durable struct {
	storage *storage
	probe   *ownership.Server
	fault   string

	mu    sync.Mutex
	cache map[string]string
	late  map[string]string // acknowledged, and not stored yet
}

func (d *durable) Activate(_ context.Context, s sdk.Shard, _ []byte) error {
	if d.fault == "no term" {
		return nil
	}
	return d.storage.raise(s.ID, s.Term)
}

func (d *durable) AddShard(context.Context, sdk.Shard) error { return nil }

func (d *durable) DropShard(_ context.Context, s sdk.Shard) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault != "cache" {
		delete(d.cache, s.ID)
	}
	return nil
}

func (d *durable) write(_ context.Context, at sdk.Shard, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if late, ok := d.late[at.ID]; ok && d.fault == "late" {
		if err := d.storage.write(at, late, d.probe); err != nil {
			return err
		}
	}
	d.cache[at.ID], d.late[at.ID] = value, value
	if d.fault == "late" {
		return nil
	}
	return d.storage.write(at, value, d.probe)
}

func (d *durable) read(at sdk.Shard) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if value, ok := d.cache[at.ID]; ok && d.fault != "" {
		return value
	}
	return d.storage.read(at.ID)
}

func durableApp(fault string) func(*ownership.Checker) sdktest.App {
	return func(checker *ownership.Checker) sdktest.App {
		shared := &storage{terms: map[string]uint64{}, values: map[string]string{}}
		return sdktest.App{
			New: func(_ testing.TB, server string) sdk.Handler {
				return &durable{storage: shared, probe: checker.Of(server), fault: fault, cache: map[string]string{}, late: map[string]string{}}
			},
			Write: func(ctx context.Context, h sdk.Handler, s sdk.Shard, value string) error {
				return h.(*durable).write(ctx, s, value)
			},
			Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
				return h.(*durable).read(s), nil
			},
			Durable: true,
		}
	}
}

func TestQuiet(t *testing.T) {
	began := time.Now()
	Test(t, Config{App: durableApp("")}, func(c *Cluster) {
		c.Load(1, 250*time.Millisecond)
		time.Sleep(5 * time.Minute)
		if c.Checker().Operations() < 1000 {
			t.Errorf("%d operations", c.Checker().Operations())
		}
	})
	t.Logf("5 minutes in %s", time.Since(began))
}
