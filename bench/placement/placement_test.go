package main

import (
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

func TestCases(t *testing.T) {
	for name, c := range map[string]struct {
		run    func(options) (*result, error)
		o      options
		before int // violations at first, at least
		moves  int // at most
	}{
		"zippy":     {zippy, options{shards: 3000, servers: 40, replicas: 3, seed: 1}, 30, 400},
		"ungrouped": {zippy, options{shards: 3000, servers: 40, replicas: 3, seed: 1, ungrouped: true}, 30, 400},
		"alone":     {zippy, options{shards: 3000, servers: 40, replicas: 1, seed: 1}, 5, 100},
		"sev0":      {sev0, options{shards: 30_000, servers: 500, seed: 1}, 240, 240},
		"failover":  {failover, options{shards: 5000, servers: 100, seed: 1}, 500, 600},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := c.run(c.o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Before < c.before || r.Violations != 0 || r.Moves > c.moves {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestGreedy: at this size the engine needs about as many moves as the greedy solver, at the published ones fewer.
func TestGreedy(t *testing.T) {
	o := options{shards: 3000, servers: 40, replicas: 3, seed: 1}
	engine, err := zippy(o)
	if err != nil {
		t.Fatal(err)
	}
	o.greedy = true
	greedy, err := zippy(o)
	if err != nil || greedy.Before != engine.Before || engine.Moves > greedy.Moves*6/5 {
		t.Errorf("greedy %+v, engine %+v: %v", greedy, engine, err)
	}
}

func TestChurn(t *testing.T) {
	r, err := churn(options{rounds: 10, seed: 1})
	if err != nil || r.Before < 500 || r.Violations > r.Before/50 || r.RoundMoves > 200 {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestViolations(t *testing.T) {
	p := &problem.Problem{Metrics: 1, Servers: 3, Replicas: 4, Groups: 2, Capacity: []int64{5, 5, 5}, Load: []int64{3, 3, 1, 1}, Group: []int32{0, 0, 1, 1},
		Exclusive: []bool{true, true}, Domains: [][]int32{{0, 0, 1}}, Spreads: []problem.Spread{{Group: 1, Want: 2}},
		Thresholds: []problem.Threshold{{Limit: []int64{4, 4, 4}}}}
	for _, c := range []struct {
		places []int32
		want   int
	}{
		{[]int32{0, 1, 0, 2}, 0},
		{[]int32{0, 1, 0, 1}, 1},  // one region
		{[]int32{0, 0, 0, 2}, 3},  // capacity, threshold, and two of a group
		{[]int32{-1, 1, 0, 2}, 1}, // without a place
	} {
		if got := violations(p, c.places); got != c.want {
			t.Errorf("%v: %d violations, expected %d", c.places, got, c.want)
		}
	}
	if !slices.Equal(pick([]int64{1, 2, 3}, []int32{2, 0}), []int64{3, 1}) {
		t.Error("pick")
	}
}
