package load_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/internal/load"
)

func TestVectors(t *testing.T) {
	t.Parallel()
	loads := []map[string]int64{{"shards": 1, "cpu": 5}, {"memory": 7}, nil}
	m := load.MetricsOf(slices.Values(loads))
	if m.Len() != 3 || m.Name(0) != "cpu" || m.Name(2) != "shards" {
		t.Fatalf("metrics %v are not the three in order", m)
	}
	used, capacity := make(load.Vector, 3), make(load.Vector, 3)
	m.Fill(used, loads[0], 0)
	m.Fill(capacity, map[string]int64{"cpu": 8, "unheard of": 1}, load.Unlimited)
	capacity.Sub(used)
	if diff := cmp.Diff(load.Vector{3, load.Unlimited, load.Unlimited}, capacity); diff != "" {
		t.Errorf("free: %s", diff)
	}
	for _, c := range []struct {
		need load.Vector
		fits bool
	}{{load.Vector{3, 9, 9}, true}, {load.Vector{4, 0, 0}, false}, {load.Vector{0, 0, 0}, true}} {
		if got := c.need.Fits(capacity); got != c.fits {
			t.Errorf("%v fits %v: %v", c.need, capacity, got)
		}
	}
	if !(load.Vector{0}).Fits(load.Vector{-5}) {
		t.Error("a metric that is not used fits an overloaded server")
	}
}

func TestSumsSaturate(t *testing.T) {
	t.Parallel()
	v := load.Vector{math.MaxInt64, math.MinInt64, 5}
	v.Add(load.Vector{1, -1, 1})
	if diff := cmp.Diff(load.Vector{math.MaxInt64, math.MinInt64, 6}, v); diff != "" {
		t.Error(diff)
	}
	v = load.Vector{math.MinInt64 + 1, 1}
	v.Sub(load.Vector{5, math.MinInt64})
	if diff := cmp.Diff(load.Vector{math.MinInt64, math.MaxInt64}, v); diff != "" {
		t.Error(diff)
	}
	for _, c := range [][4]int64{{7, 3, 2, 10}, {math.MaxInt64, 10, 20, math.MaxInt64 / 2}, {math.MaxInt64, 2, 1, math.MaxInt64}, {1, 1, 0, math.MaxInt64}, {0, 9, 0, 0}} {
		if got := load.MulDiv(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%d × %d ÷ %d = %d, expected %d", c[0], c[1], c[2], got, c[3])
		}
	}
}

func TestDecayFollowsTheExponential(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(-1<<52, 1<<52).Draw(t, "v")
		halfLife := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "half-life"))
		elapsed := time.Duration(rapid.Int64Range(0, int64(10*time.Hour)).Draw(t, "elapsed"))
		got := float64(load.Decay(v, elapsed, halfLife))
		want := float64(v) * math.Exp2(-float64(elapsed)/float64(halfLife))
		if math.Abs(got-want) > 20+math.Abs(want)/10_000 {
			t.Fatalf("%d after %v at half-life %v: got %v, expected %v", v, elapsed, halfLife, got, want)
		}
		if math.Abs(got) > math.Abs(float64(v)) {
			t.Fatalf("%d grew to %v", v, got)
		}
	})
	for _, c := range []struct {
		elapsed, halfLife time.Duration
		want              int64
	}{{0, time.Second, 1000}, {-time.Second, time.Second, 1000}, {time.Second, time.Second, 500}, {time.Second, 0, 0}, {100 * time.Second, time.Second, 0}} {
		if got := load.Decay(1000, c.elapsed, c.halfLife); got != c.want {
			t.Errorf("after %v at half-life %v: got %d, expected %d", c.elapsed, c.halfLife, got, c.want)
		}
	}
	if got := load.Smooth(0, 1000, time.Second, time.Second); got != 500 {
		t.Errorf("half a sample after one half-life: got %d", got)
	}
}
