package sdktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/shardmanager/shardmanager/sdk"
)

// storage checks terms, as storage for promise 1 has to.
type storage struct {
	mu     sync.Mutex
	terms  map[string]uint64
	values map[string]string
}

func newStorage() *storage { return &storage{terms: map[string]uint64{}, values: map[string]string{}} }

func (s *storage) raise(shard string, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.terms[shard] {
		return fmt.Errorf("term %d is below %d", term, s.terms[shard])
	}
	s.terms[shard] = term
	return nil
}

func (s *storage) write(shard string, term uint64, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.terms[shard] {
		return fmt.Errorf("term %d is below %d", term, s.terms[shard])
	}
	s.values[shard] = value
	return nil
}

func (s *storage) read(shard string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[shard]
}

// durable keeps everything in storage; its faults are what Check has to find.
type durable struct {
	storage *storage
	fault   string
	mu      sync.Mutex
	held    map[string]bool
}

func (d *durable) PrepareAddShard(_ context.Context, s sdk.Shard, _ sdk.Peer) error {
	if d.fault == "prepare raises the term" {
		return d.storage.raise(s.ID, s.Term)
	}
	return nil
}

func (d *durable) AddShard(_ context.Context, s sdk.Shard) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == "not idempotent" && d.held[s.ID] {
		return errors.New("it is here already")
	}
	d.held[s.ID] = true
	if d.fault == "does not raise the term" {
		return nil
	}
	return d.storage.raise(s.ID, s.Term)
}

func (d *durable) DropShard(_ context.Context, s sdk.Shard) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == "drop of what was never added" && !d.held[s.ID] {
		return errors.New("it is not here")
	}
	delete(d.held, s.ID)
	if d.fault == "drop deletes" {
		d.storage.mu.Lock()
		defer d.storage.mu.Unlock()
		delete(d.storage.values, s.ID)
	}
	return nil
}

func durableApp(fault string) App {
	shared := newStorage()
	return App{
		New: func(testing.TB, string) sdk.Handler {
			return &durable{storage: shared, fault: fault, held: map[string]bool{}}
		},
		Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
			return h.(*durable).storage.write(s.ID, s.Term, value)
		},
		Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
			return h.(*durable).storage.read(s.ID), nil
		},
		Durable: true,
	}
}

// memory keeps values in memory and hands them over.
type memory struct {
	mu     sync.Mutex
	values map[string]string
	fault  string
}

func (m *memory) AddShard(context.Context, sdk.Shard) error { return nil }

func (m *memory) Activate(_ context.Context, s sdk.Shard, state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if state != nil && m.fault != "ignores the last state" {
		m.values[s.ID] = string(state)
	}
	return nil
}

func (m *memory) LastState(_ context.Context, s sdk.Shard) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value := m.values[s.ID]
	if m.fault == "forgets in LastState" {
		delete(m.values, s.ID)
	}
	return []byte(value), nil
}

func (m *memory) DropShard(_ context.Context, s sdk.Shard) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != "drop keeps" {
		delete(m.values, s.ID)
	}
	return nil
}

func memoryApp(fault string) App {
	return App{
		New: func(testing.TB, string) sdk.Handler { return &memory{values: map[string]string{}, fault: fault} },
		Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
			m := h.(*memory)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.values[s.ID] = value
			return nil
		},
		Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
			m := h.(*memory)
			m.mu.Lock()
			defer m.mu.Unlock()
			return maps.Clone(m.values)[s.ID], nil
		},
	}
}

func TestCheckPassesGoodApplications(t *testing.T) {
	t.Run("durable", func(t *testing.T) { Check(t, durableApp("")) })
	t.Run("in memory", func(t *testing.T) { Check(t, memoryApp("")) })
}

// Every fault is found, by the scenario that is about it.
func TestCheckFindsFaults(t *testing.T) {
	for _, test := range []struct {
		app      App
		fault    string
		scenario string
		want     string
	}{
		{durableApp("prepare raises the term"), "prepare raises the term", "prepare does not disturb", "writing at a.app"},
		{durableApp("does not raise the term"), "does not raise the term", "failover", "storage took a write with term 1"},
		{durableApp("not idempotent"), "not idempotent", "first placement", "AddShard called again"},
		{durableApp("drop of what was never added"), "drop of what was never added", "drop at any point", "DropShard when prepared"},
		{durableApp("drop deletes"), "drop deletes", "drop and return", "want \"one\""},
		{memoryApp("ignores the last state"), "ignores the last state", "planned move and back", "reading at b.app"},
		{memoryApp("forgets in LastState"), "forgets in LastState", "abort after hand-over", "reading at a.app"},
		{memoryApp("drop keeps"), "drop keeps", "drop and return", "want \"\""},
	} {
		t.Run(test.fault, func(t *testing.T) {
			for _, s := range scenarios {
				if s.name != test.scenario {
					continue
				}
				found := strings.Join(s.violations(t, test.app), "\n")
				if !strings.Contains(found, test.want) {
					t.Errorf("violations %q, want one that says %q", found, test.want)
				}
				return
			}
			t.Errorf("no scenario %q", test.scenario)
		})
	}
}
