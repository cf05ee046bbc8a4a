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
		k := NewKeeper(virtual)
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
		k := NewKeeper(virtual)
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
		k := NewKeeper(virtual)
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
