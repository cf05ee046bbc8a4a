package main

import (
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

func TestCases(t *testing.T) {
	small := options{shards: 3000, servers: 40, replicas: 3, percent: 80, workers: 1, seed: 1}
	with := func(o options, change func(*options)) options {
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		run    func(options) (*result, error)
		o      options
		before violations // at least
		moves  int        // at most
	}{
		"zippy":     {zippy, small, violations{Threshold: 5, Spread: 30}, 130},
		"ungrouped": {zippy, with(small, func(o *options) { o.ungrouped = true }), violations{Threshold: 5, Spread: 30}, 130},
		"workers":   {zippy, with(small, func(o *options) { o.workers = 3 }), violations{Threshold: 5, Spread: 30}, 130},
		"full":      {zippy, with(small, func(o *options) { o.percent = 85 }), violations{Threshold: 5, Spread: 30}, 130},
		"alone":     {zippy, with(small, func(o *options) { o.replicas = 1 }), violations{Threshold: 5}, 30},
		"sev0":      {sev0, options{shards: 30_000, servers: 500, seed: 1}, violations{Capacity: 240}, 240},
		"failover":  {failover, options{shards: 5000, servers: 100, seed: 1}, violations{Unplaced: 500}, 520},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := c.run(c.o)
			if err != nil {
				t.Fatal(err)
			}
			b := r.KindsBefore
			if b.Threshold < c.before.Threshold || b.Spread < c.before.Spread || b.Capacity < c.before.Capacity || b.Unplaced < c.before.Unplaced {
				t.Errorf("it begins with %+v only", b)
			}
			if r.Violations != 0 || r.Kinds.sum() != 0 || r.Moves == 0 || r.Moves > c.moves {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestOverloaded: a tenth of the servers begin over a threshold, and none over its capacity.
func TestOverloaded(t *testing.T) {
	w := newWorld(shape{servers: 80, regions: zippyRegions, shards: 6000, replicas: 3, percent: 80}, 1)
	w.scatter()
	w.overload(80 / 8)
	over := 0
	for s := range int32(80) {
		if f := w.full(s, -1); f > 900 {
			over++
		}
	}
	if v := violationsOf(w.p, w.p.Start); over < 8 || v.Threshold < over || v.sum() != v.Threshold {
		t.Errorf("%d servers over a threshold, %+v", over, v)
	}
}

// TestFailover: what the emergency plan leaves over a threshold, where servers are few and shards large, periodic plans mend.
func TestFailover(t *testing.T) {
	r, err := failover(options{shards: 1200, servers: 100, seed: 2})
	if err != nil || r.AfterEmergency == nil || r.AfterEmergency.Unplaced != 0 || r.AfterEmergency.Threshold == 0 || r.Rounds == 0 || r.Violations != 0 ||
		r.Moves <= r.EmergencyMoves {
		t.Errorf("%+v, after the emergency plan %+v: %v", r, r.AfterEmergency, err)
	}
}

// TestGreedy: the engine needs no more moves than the greedy solver.
func TestGreedy(t *testing.T) {
	o := options{shards: 7500, servers: 100, replicas: 3, percent: 80, workers: 1, seed: 1}
	engine, err := zippy(o)
	if err != nil {
		t.Fatal(err)
	}
	o.greedy = true
	greedy, err := zippy(o)
	if err != nil || greedy.Before != engine.Before || greedy.Violations > 0 || engine.Moves > greedy.Moves {
		t.Errorf("greedy %+v, engine %+v: %v", greedy, engine, err)
	}
}

func TestChurn(t *testing.T) {
	o := options{rounds: 20, workers: 1, seed: 1}
	r, err := churn(o)
	if err != nil || r.Before < 1000 || r.Violations > 0 || r.Impossible == 0 || r.RoundMoves > 130 {
		t.Errorf("%+v: %v", r, err)
	}
	o.greedy = true
	if g, err := churn(o); err != nil || g.Impossible != r.Impossible || g.Violations >= g.Before/100 || g.Moves == 0 {
		t.Errorf("greedy %+v: %v", g, err)
	}
}

// TestBound: what no server can have is not in the mean of the others.
func TestBound(t *testing.T) {
	for _, c := range []struct {
		load        []int64
		mean, large int
	}{
		{[]int64{50, 50, 50, 50}, 100, 0},
		{[]int64{110, 90, 0, 0}, 100, 0},
		{[]int64{400, 50, 50, 0}, 100, 1},
		{[]int64{400, 120, 40}, 40, 2}, // of three servers, the second is too large only without the first
	} {
		y := &churning{p: &problem.Problem{Servers: 2, Load: c.load}}
		if len(c.load) == 3 {
			y.p.Servers = 3
		}
		total := int64(0)
		for _, l := range c.load {
			total += l
		}
		if y.bound(total); y.mean != int64(c.mean) || y.large != c.large {
			t.Errorf("%v: mean %d and %d too large, expected %d and %d", c.load, y.mean, y.large, c.mean, c.large)
		}
	}
}

func TestViolations(t *testing.T) {
	p := &problem.Problem{Metrics: 1, Servers: 3, Replicas: 4, Groups: 2, Capacity: []int64{5, 5, 5}, Load: []int64{3, 3, 1, 1}, Group: []int32{0, 0, 1, 1},
		Exclusive: []bool{true, true}, Domains: [][]int32{{0, 0, 1}}, Spreads: []problem.Spread{{Group: 1, Want: 2}},
		Thresholds: []problem.Threshold{{Limit: []int64{4, 4, 4}}}}
	for _, c := range []struct {
		places []int32
		want   violations
	}{
		{[]int32{0, 1, 0, 2}, violations{}},
		{[]int32{0, 1, 0, 1}, violations{Spread: 1}},
		{[]int32{0, 0, 1, 2}, violations{Capacity: 1, Threshold: 1, Exclusive: 1}},
		{[]int32{-1, 1, 0, 2}, violations{Unplaced: 1}},
	} {
		if got := violationsOf(p, c.places); got != c.want {
			t.Errorf("%v: %+v, expected %+v", c.places, got, c.want)
		}
	}
	if !slices.Equal(pick([]int64{1, 2, 3}, []int32{2, 0}), []int64{3, 1}) {
		t.Error("pick")
	}
}

// TestReplay: plans that end well, and cannot be carried out.
func TestReplay(t *testing.T) {
	for name, c := range map[string]struct {
		start, places []int32
		change        func(*problem.Problem)
		want          int
	}{
		"nothing":                            {[]int32{0, 1, 2}, []int32{0, 1, 2}, nil, 0},
		"to a free server":                   {[]int32{0, 1, 1}, []int32{0, 2, 1}, nil, 0},
		"a swap without room for both":       {[]int32{0, 1, 2}, []int32{1, 0, 2}, nil, 2},
		"one that room for both is made for": {[]int32{0, 1, 2}, []int32{1, 0, 2}, func(p *problem.Problem) { p.Capacity = []int64{6, 6, 6} }, 0},
		"after the other has gone":           {[]int32{0, 1, -1}, []int32{1, 2, -1}, func(p *problem.Problem) { p.During[0] = false }, 0},
		"after the other, whose start stays": {[]int32{0, 1, -1}, []int32{1, 2, -1}, nil, 1},
		"two of a group, in order": {[]int32{0, 1, -1}, []int32{1, 2, -1}, func(p *problem.Problem) {
			p.Capacity, p.Group, p.Exclusive[0] = []int64{6, 6, 6}, []int32{0, 0, 1}, true
		}, 0},
		"two of a group, in a circle": {[]int32{0, 1, -1}, []int32{1, 0, -1}, func(p *problem.Problem) {
			p.Capacity, p.Group, p.Exclusive[0] = []int64{6, 6, 6}, []int32{0, 0, 1}, true
		}, 2},
		"too many in a domain":  {[]int32{-1, 2, -1}, []int32{1, 2, -1}, func(p *problem.Problem) { p.Group[1], p.Spreads = 0, []problem.Spread{{Max: 1}} }, 1},
		"too few domains":       {[]int32{0, 1, -1}, []int32{2, 1, -1}, func(p *problem.Problem) { p.Group[1], p.Spreads = 0, []problem.Spread{{Min: 2}} }, 1},
		"no more than they may": {[]int32{0, 0, 0}, []int32{0, 1, 2}, func(p *problem.Problem) { p.Caps.Server = []int32{1, 1, 1} }, 1},
		"nobody loses a place":  {[]int32{0, 1, 2}, []int32{-1, 1, 2}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := &problem.Problem{Metrics: 1, Servers: 3, Replicas: 3, Groups: 3, Capacity: []int64{3, 3, 3}, Load: []int64{3, 3, 3}, Group: []int32{0, 1, 2},
				Exclusive: []bool{false, false, false}, During: []bool{true}, Domains: [][]int32{{0, 1, 1}}}
			if name == "to a free server" {
				p.Capacity[1] = 6
			}
			if c.change != nil {
				c.change(p)
			}
			if got := replay(p, c.start, c.places); got != c.want {
				t.Errorf("%d moves cannot be made, expected %d", got, c.want)
			}
		})
	}
}
