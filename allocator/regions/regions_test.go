package regions

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const ms = time.Millisecond

func at(x time.Duration) latency.Coordinate {
	return latency.Coordinate{Vector: []time.Duration{x}, Error: 50}
}

func virtual() shard.Instant {
	now := time.Now().UnixNano()
	return shard.Instant{Boot: now, Raw: now}
}

func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(virtual, latency.Matrix{})
		k.Report("e1", "eu", at(0))
		k.Report("u1", "us", at(90*ms))
		time.Sleep(10 * time.Second)
		k.Report("u1", "us", at(100*ms))
		if e, ok := k.Matrix().Between("eu", "us"); !ok || e.Median != 100*ms || e.Age != 10*time.Second {
			t.Errorf("%+v, %t", e, ok)
		}
		k.Report("u1", "us", at(300*ms))
		if e, _ := k.Matrix().Between("eu", "us"); e.Median != 100*ms {
			t.Errorf("made anew at once: %+v", e)
		}
		time.Sleep(foldEvery)
		if e, _ := k.Matrix().Between("eu", "us"); e.Median != 300*ms {
			t.Errorf("not made anew: %+v", e)
		}
		time.Sleep(latency.MaxAge - foldEvery)
		if diff := cmp.Diff(map[string]int{"us": 1}, k.Located()); diff != "" {
			t.Error(diff)
		}
		if _, ok := k.Matrix().Between("eu", "us"); ok {
			t.Error("an agent that says nothing any more counts")
		}
	})
}

func TestAgentsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(virtual, latency.Matrix{})
		for i := range MaxAgents + 1 {
			k.Report(fmt.Sprint(i), "eu", at(0))
		}
		if n := k.Located()["eu"]; n != MaxAgents {
			t.Errorf("%d agents are kept", n)
		}
		time.Sleep(latency.MaxAge + 1)
		k.Report("one more", "us", at(0))
		if diff := cmp.Diff(map[string]int{"us": 1}, k.Located()); diff != "" {
			t.Error(diff)
		}
	})
}

// Those who route hear of what changed noticeably, and nothing from whoever does not lead or knows nothing; regions that fell silent are kept.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := NewKeeper(virtual, latency.Matrix{})
		var leads atomic.Bool
		var mu sync.Mutex
		var all []latency.Matrix
		go k.Run(ctx, leads.Load, func(m latency.Matrix) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, m)
		})
		heard := func() []latency.Matrix {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
		expect := func(what string, n int, median time.Duration) {
			t.Helper()
			synctest.Wait()
			told := heard()
			if len(told) != n {
				t.Fatalf("%s: told %d times, want %d", what, len(told), n)
			}
			if n > 0 {
				if e, _ := told[n-1].Between("eu", "us"); e.Median != median {
					t.Fatalf("%s: %s, want %s", what, e.Median, median)
				}
			}
		}
		report := func(x time.Duration) {
			k.Report("e1", "eu", at(0))
			k.Report("u1", "us", at(x))
			time.Sleep(2 * publishEvery)
		}
		report(80 * ms)
		expect("not leading", 0, 0)
		leads.Store(true)
		report(80 * ms)
		expect("leading", 1, 80*ms)
		report(84 * ms)
		expect("nearly the same", 1, 80*ms)
		report(120 * ms)
		expect("another", 2, 120*ms)
		for range 6 {
			report(121 * ms)
		}
		expect("after a minute", 3, 121*ms)
		time.Sleep(latency.MaxAge + repeatEvery)
		expect("silence", 9, 121*ms)
		if e, _ := heard()[8].Between("eu", "us"); e.Age < latency.MaxAge {
			t.Errorf("old news of %s pass for %s old", latency.MaxAge, e.Age)
		}
		time.Sleep(keepFor)
		n := len(heard())
		time.Sleep(2 * repeatEvery)
		expect("an hour later", n, 121*ms)
		cancel()
	})
}

// Where nothing good enough is measured, the solver, operators and routers get what is configured, a new leader's routers not before agents
// could have reported.
func TestConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		configured, err := latency.Configured("setting", []string{"us:eu=70ms", "eu:ap=200ms"})
		if err != nil {
			t.Fatal(err)
		}
		k := NewKeeper(virtual, configured)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var leads atomic.Bool
		var told atomic.Pointer[latency.Matrix]
		go k.Run(ctx, leads.Load, func(m latency.Matrix) { told.Store(&m) })
		expect := func(what string, m latency.Matrix, from, to string, want latency.Estimate) {
			t.Helper()
			e, _ := m.Between(from, to)
			if e.Age = 0; e != want {
				t.Errorf("%s: %+v, want %+v", what, e, want)
			}
		}
		expect("to operators", k.Matrix(), "eu", "us", latency.Estimate{Median: 70 * ms, Configured: true})
		time.Sleep(time.Minute)
		leads.Store(true)
		time.Sleep(reportWithin - 1)
		if m := told.Load(); m != nil {
			t.Errorf("told before agents could have reported: %+v", m.Pairs())
		}
		time.Sleep(2 * publishEvery)
		synctest.Wait()
		expect("to routers", *told.Load(), "eu", "us", latency.Estimate{Median: 70 * ms, Configured: true})
		k.Report("e1", "eu", at(0))
		k.Report("u1", "us", at(90*ms))
		time.Sleep(2 * publishEvery)
		synctest.Wait()
		expect("measured", *told.Load(), "eu", "us", latency.Estimate{Median: 90 * ms, Error: 50, Pairs: 1})
		expect("another pair", *told.Load(), "eu", "ap", latency.Estimate{Median: 200 * ms, Configured: true})
		k.Report("u2", "us", at(300*ms)) // they disagree too much to be good for anything
		time.Sleep(2 * publishEvery)
		synctest.Wait()
		expect("uncertain", *told.Load(), "eu", "us", latency.Estimate{Median: 70 * ms, Configured: true})
		for agent, x := range map[string]time.Duration{"e1": 0, "u1": 90 * ms, "u2": 90 * ms} {
			k.Report(agent, map[byte]string{'e': "eu", 'u': "us"}[agent[0]], at(x))
		}
		time.Sleep(latency.MaxAge - time.Second)
		expect("still young enough", *told.Load(), "eu", "us", latency.Estimate{Median: 90 * ms, Error: 0, Pairs: 2})
		time.Sleep(time.Second + 2*publishEvery)
		synctest.Wait()
		expect("too old", *told.Load(), "eu", "us", latency.Estimate{Median: 70 * ms, Configured: true})
	})
}
