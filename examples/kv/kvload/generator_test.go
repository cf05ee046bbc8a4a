package kvload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	"github.com/shardmanager/shardmanager/sdk"
)

func TestPaceKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		var at []time.Duration
		pace(ctx, 3, func(due time.Time) {
			at = append(at, due.Sub(begun))
			if late := time.Since(due); len(at) != 5 && len(at) != 6 && late != 0 {
				t.Errorf("request %d is %v late", len(at), late)
			}
			if len(at) == 4 {
				time.Sleep(700 * time.Millisecond) // late: the schedule stays, and what is overdue follows at once
			}
			if len(at) == 8 {
				cancel()
			}
		})
		third := time.Second / 3
		want := []time.Duration{0, third, 2 * third, time.Second, time.Second + third, time.Second + 2*third, 2 * time.Second, 2*time.Second + third}
		for i := range want {
			if i >= len(at) || (at[i]-want[i]).Abs() > 2 {
				t.Fatalf("due at %v, want %v", at, want)
			}
		}
	})
}

func TestOffsetIsExact(t *testing.T) {
	for _, rate := range []int{1, 3, 7, 2000, maxRate} {
		if got := offset(rate*86400*365, rate); got != 86400*365*time.Second {
			t.Errorf("rate %d: a year of requests takes %v", rate, got)
		}
	}
}

// stubService is a key-value service in memory that misbehaves as told.
type stubService struct {
	mu      sync.Mutex
	values  map[string]int64
	stall   time.Duration                 // before every answer
	corrupt func(before, now int64) int64 // what a write makes of the value; nil: now
	stale   bool                          // reads are one behind
	err     func() error                  // of writes, after they were applied
}

func (s *stubService) get(ctx context.Context, key string) (int64, error) {
	if err := wait(ctx, s.stall); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.values[key]; s.stale && v > 0 {
		return v - 1, nil
	}
	return s.values[key], nil
}

// getNearest reads as a secondary does that says it is a second behind, and is one write behind if told.
func (s *stubService) getNearest(ctx context.Context, key string) (int64, bool, time.Duration, error) {
	value, err := s.get(ctx, key)
	return value, true, time.Second, err
}

func (s *stubService) increment(ctx context.Context, key string, _ uint64) (int64, error) {
	if err := wait(ctx, s.stall); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.values[key]
	s.values[key] = before + 1
	if s.corrupt != nil {
		s.values[key] = s.corrupt(before, before+1)
	}
	if s.err != nil {
		if err := s.err(); err != nil {
			return 0, err
		}
	}
	return s.values[key], nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// generate runs a generator against a service for some virtual time, and reads back.
func generate(t *testing.T, service *stubService, keys int, d time.Duration) (total Counts, v violations, log []requests.Request) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service.values = map[string]int64{}
		states := make([]keyState, keys)
		for i := range states {
			states[i].name, states[i].shard = fmt.Sprint("k", i), uint32(i)
		}
		var mu sync.Mutex
		g := newGenerator(settings{rate: 1000, writeRatio: 0.5, deadline: 2 * time.Second}, service, states, func(r requests.Request) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), d-500*time.Microsecond) // between two requests
		defer cancel()
		g.run(ctx)
		service.stall = 0
		g.readBack(t.Context())
		total, _, v = g.stats.turn()
		if left := g.inFlight.Load(); left != 0 {
			t.Errorf("%d requests are still counted as under way", left)
		}
	})
	return total, v, log
}

func TestGeneratorIsContent(t *testing.T) {
	total, v, log := generate(t, &stubService{stall: 7 * time.Millisecond}, 100, 3*time.Second)
	if v.any() || total.Failed != 0 || total.Requests != 3000 {
		t.Errorf("%+v, %+v", total, v)
	}
	writes := len(slices.DeleteFunc(slices.Clone(log), func(r requests.Request) bool { return r.Kind != requests.Write }))
	if len(log) != 3000 || writes < 1300 || writes > 1700 {
		t.Errorf("%d requests logged, %d of them writes", len(log), writes)
	}
	if total.P50MS < 7 || total.P99MS > 7.2 {
		t.Errorf("p50 %v ms, p99 %v ms, each took 7 ms", total.P50MS, total.P99MS)
	}
	for _, r := range log {
		if r.Outcome != requests.OK || r.End-r.Start != int64(7*time.Millisecond) {
			t.Fatalf("logged %+v, want 7 ms and no failure", r)
		}
	}
}

func TestGeneratorCatches(t *testing.T) {
	sometimes := func() bool { return rand.IntN(50) == 0 }
	lose := func(before, now int64) int64 {
		if sometimes() {
			return before
		}
		return now
	}
	repeat := func(_, now int64) int64 {
		if sometimes() {
			return now + 1
		}
		return now
	}
	refuse := func() error {
		if sometimes() {
			return &sdk.Error{Outcome: sdk.NotExecuted}
		}
		return nil
	}
	for name, c := range map[string]struct {
		service *stubService
		found   func(violations) bool
	}{
		"lost writes":              {&stubService{corrupt: lose}, func(v violations) bool { return v.Lost > 0 && v.Repeated == 0 }},
		"repeated writes":          {&stubService{corrupt: repeat}, func(v violations) bool { return v.Repeated > 0 && v.Lost == 0 }},
		"stale reads":              {&stubService{stale: true}, func(v violations) bool { return v.Stale > 0 && v.Repeated == 0 }},
		"refused writes that were": {&stubService{err: refuse}, func(v violations) bool { return v.Repeated > 0 && v.Lost == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			total, v, log := generate(t, c.service, 20, 2*time.Second)
			if !c.found(v) {
				t.Errorf("found %+v in %d requests", v, total.Requests)
			}
			wrong := func(r requests.Request) bool { return r.Outcome == requests.Wrong }
			if !slices.ContainsFunc(log, wrong) {
				t.Error("no request is logged as wrong")
			}
		})
	}
}

func TestGeneratorAllowsForUnknownOutcomes(t *testing.T) {
	unknown := func() error {
		if rand.IntN(10) == 0 {
			return errors.New("the connection broke")
		}
		return nil
	}
	total, v, _ := generate(t, &stubService{err: unknown}, 20, 2*time.Second)
	if v.any() || total.FailedWrites < 50 || total.FailedReads != 0 || total.Failed != total.FailedWrites {
		t.Errorf("%+v, %+v: errors after a write was applied must count as failed only", total, v)
	}
}

// TestGeneratorIsOpenLoop: a service that answers nobody slows nothing down; every request fails at its deadline.
func TestGeneratorIsOpenLoop(t *testing.T) {
	total, v, log := generate(t, &stubService{stall: time.Hour}, 10_000, 3*time.Second)
	if total.Requests != 3000 || total.Failed != 3000 || v.any() {
		t.Errorf("%+v, %+v", total, v)
	}
	for _, r := range log {
		if r.Outcome != requests.Failed || r.End-r.Start != int64(2*time.Second) {
			t.Fatalf("logged %+v, want a failure at the deadline", r)
		}
	}
}

// hung answers nobody and ignores its callers' deadlines.
type hung struct{ release chan struct{} }

func (h hung) get(context.Context, string) (int64, error) {
	<-h.release
	return 0, errors.New("too late")
}

func (h hung) getNearest(ctx context.Context, key string) (int64, bool, time.Duration, error) {
	value, err := h.get(ctx, key)
	return value, false, 0, err
}

func (h hung) increment(ctx context.Context, key string, _ uint64) (int64, error) {
	return h.get(ctx, key)
}

func TestGeneratorBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := hung{make(chan struct{})}
		s := settings{rate: 100, writeRatio: 0.5, deadline: time.Second}
		g := newGenerator(s, service, make([]keyState, 1000), func(requests.Request) {})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go g.run(ctx)
		time.Sleep(4500 * time.Millisecond)
		if n := g.inFlight.Load(); n != s.maxInFlight() || n != 200 {
			t.Errorf("%d under way, want %d", n, s.maxInFlight())
		}
		if _, second, _ := g.stats.turn(); second.Failed < 200 {
			t.Errorf("%+v: what exceeds the bound fails", second)
		}
		close(service.release)
		synctest.Wait()
	})
}

// TestWritesAvoidEachOther: with all keys being written, a write becomes a read.
func TestWritesAvoidEachOther(t *testing.T) {
	keys := make([]keyState, 3)
	g := newGenerator(settings{rate: 1, writeRatio: 1, deadline: time.Second}, nil, keys, nil)
	seen := map[*keyState]bool{}
	for range keys {
		j := g.choose(time.Now())
		if j.write == nil || seen[j.key] {
			t.Fatalf("job %+v: want a write to a key that none is under way to", j)
		}
		seen[j.key] = true
	}
	if j := g.choose(time.Now()); j.write != nil {
		t.Error("a second write to a key was begun")
	}
}
