package linear

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// written is a history that somebody wrote down; each operation is a client's own.
func written(list ...Operation) *History {
	h := new(History)
	for i, o := range list {
		o.Client = i
		if o.Key == "" {
			o.Key = "k"
		}
		h.Add(o)
	}
	return h
}

func read(call, ret, value int64) Operation {
	return Operation{Kind: Read, Outcome: Done, Call: call, Return: ret, Value: value}
}

func increment(call, ret, value int64) Operation {
	return Operation{Kind: Increment, Outcome: Done, Call: call, Return: ret, Value: value}
}

func ended(o Operation, outcome Outcome) Operation {
	o.Outcome, o.Value = outcome, 0
	return o
}

func of(key string, o Operation) Operation {
	o.Key = key
	return o
}

func TestHistoriesAreJudged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		history *History
		illegal string
	}{
		"one after the other":            {written(increment(1, 2, 1), read(3, 4, 1), increment(5, 6, 2), read(7, 8, 2)), ""},
		"a read beside a write":          {written(increment(1, 2, 1), increment(3, 8, 2), read(4, 5, 1), read(6, 7, 2)), ""},
		"a lost write":                   {written(increment(1, 2, 1), increment(3, 4, 1), read(5, 6, 1)), "k"},
		"a lost write, seen at the end":  {written(increment(1, 2, 1), increment(3, 4, 2), read(5, 6, 1)), "k"},
		"a stale read":                   {written(increment(1, 2, 1), increment(3, 4, 2), read(5, 6, 1), read(7, 8, 2)), "k"},
		"a read that goes back":          {written(increment(1, 9, 1), read(2, 3, 1), read(4, 5, 0)), "k"},
		"a write that was done twice":    {written(increment(1, 2, 1), read(3, 4, 2)), "k"},
		"an open write that happened":    {written(ended(increment(1, 2, 0), Open), increment(3, 4, 2), read(5, 6, 2)), ""},
		"an open write that did not":     {written(ended(increment(1, 2, 0), Open), increment(3, 4, 1), read(5, 6, 1)), ""},
		"an open write that happens yet": {written(ended(increment(1, 2, 0), Open), increment(3, 4, 1), read(5, 6, 1), read(7, 8, 2)), ""},
		"an open write done twice":       {written(ended(increment(1, 2, 0), Open), increment(3, 4, 2), read(5, 6, 3)), "k"},
		"before it was asked for":        {written(increment(1, 2, 1), read(3, 4, 2), ended(increment(5, 6, 0), Open)), "k"},
		"a refused write that happened":  {written(increment(1, 2, 1), ended(increment(3, 4, 0), Refused), read(5, 6, 2)), "k"},
		"an open read says nothing":      {written(increment(1, 2, 1), ended(read(3, 4, 0), Open), read(5, 6, 1)), ""},
		"keys apart":                     {written(of("a", increment(1, 2, 1)), of("b", increment(3, 4, 1)), of("a", read(5, 6, 1)), of("b", read(7, 8, 0))), "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			v, err := c.history.Check(time.Minute, dir)
			if got := strings.Join(v.Illegal, " "); err != nil || got != c.illegal {
				t.Fatalf("illegal %q, %v; expected %q", got, err, c.illegal)
			}
			if len(v.Pictures) != len(v.Illegal) {
				t.Fatalf("pictures %q", v.Pictures)
			}
			for _, path := range v.Pictures {
				if page, err := os.ReadFile(path); err != nil || !strings.Contains(string(page), "increment → ") {
					t.Errorf("%s: %d bytes, %v", path, len(page), err)
				}
			}
		})
	}
}

func TestNothingIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*History{"empty": written(), "no reads": written(increment(1, 2, 1)), "no writes": written(read(1, 2, 0)), "nothing answered": written(ended(read(1, 2, 0), Open), ended(increment(1, 2, 0), Open))} {
		if _, err := h.Check(time.Minute, t.TempDir()); !errors.Is(err, ErrNoData) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// counters is a service in this process that takes its time, and answers as its fault says.
type counters struct {
	fault string

	mu     sync.Mutex
	values map[string]int64
	asked  int
}

func (s *counters) Read(ctx context.Context, key string) (int64, Outcome) {
	return s.answer(ctx, key, 0)
}

func (s *counters) Increment(ctx context.Context, key string, _, number uint64) (int64, Outcome) {
	if number == 0 {
		return 0, Refused
	}
	return s.answer(ctx, key, 1)
}

func (s *counters) answer(ctx context.Context, key string, add int64) (int64, Outcome) {
	time.Sleep(rand.N(3 * time.Millisecond))
	s.mu.Lock()
	s.asked++
	asked := s.asked
	before := s.values[key]
	s.values[key] += add
	value := s.values[key]
	if s.fault == "loses" && asked%100 == 0 {
		s.values[key] = before
	}
	s.mu.Unlock()
	time.Sleep(rand.N(3 * time.Millisecond))
	switch {
	case s.fault == "stale" && add == 0 && asked%50 == 0:
		return max(value-1, 0), Done
	case s.fault == "hangs" && asked%50 == 0:
		<-ctx.Done()
		return 0, Open
	}
	return value, Done
}

// What clients of a right service note is legal, also if some answers are missing; what those of a wrong one do is not.
func TestClientsTellRightServicesFromWrong(t *testing.T) {
	t.Parallel()
	for fault, illegal := range map[string]bool{"": false, "hangs": false, "stale": true, "loses": true} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clients, err := NewClients(Config{Seed: 1, Clients: 6, Keys: 3, Name: "key", Pause: 5 * time.Millisecond, Deadline: time.Second}, &counters{fault: fault, values: map[string]int64{}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				h, err := clients.Run(ctx)
				if err != nil && fault != "hangs" {
					t.Fatal(err)
				}
				v, err := h.Check(time.Minute, t.TempDir())
				if got := len(v.Illegal) > 0; err != nil || got != illegal {
					t.Errorf("illegal %v, %v; expected %t", v.Illegal, err, illegal)
				}
				c := h.Count()
				if open := c.Open > 0; open != (fault == "hangs") || c.Reads < 1000 || c.Increments < 1000 || fault == "hangs" && c.Keys < 6 {
					t.Errorf("%+v", c)
				}
			})
		})
	}
}

func TestClientsAreBounded(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{Clients: 9, Keys: 1, Deadline: 1}, {Clients: 1, Deadline: 1}, {Clients: 1, Keys: 1}} {
		if _, err := NewClients(cfg, nil); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
