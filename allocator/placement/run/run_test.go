package run_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/run"
)

// skewed is a problem whose replicas all begin on the first of its servers, and that no assignment makes cost nothing.
func skewed(servers, replicas int) *problem.Problem {
	p := &problem.Problem{Metrics: 1, Servers: servers, Replicas: replicas, Groups: replicas, Tiers: 2, During: []bool{false},
		Exclusive: make([]bool, replicas), Start: make([]int32, replicas), Unplaced: problem.Goal{Weight: 1}}
	b := problem.Balance{Goal: problem.Goal{Weight: 1}}
	for range servers {
		p.Capacity = append(p.Capacity, 1<<30)
		b.Share, b.Unit = append(b.Share, 0), append(b.Unit, 1)
	}
	for r := range replicas {
		p.Load, p.Group = append(p.Load, int64(1+r*r%17)), append(p.Group, int32(r))
	}
	p.Balances = []problem.Balance{b}
	return p
}

func TestTimedRunIsRepeatedBySteps(t *testing.T) {
	p := skewed(10, 300)
	timed, err := run.Search(context.Background(), p, run.Config{Seed: 3, Workers: 2, Explore: true, Time: 300 * time.Millisecond, Horizon: 5_000_000})
	if err != nil {
		t.Fatal(err)
	}
	again, err := run.Search(context.Background(), p, run.Config{Seed: 3, Workers: 2, Explore: true, Steps: timed.Steps, Horizon: 5_000_000})
	if err != nil {
		t.Fatal(err)
	}
	if timed.Steps == 0 || again.Steps != timed.Steps || again.Cost != timed.Cost || !slices.Equal(again.Places, timed.Places) {
		t.Errorf("%d steps cost %v, repeated %d cost %v", timed.Steps, timed.Cost, again.Steps, again.Cost)
	}
}

func TestRunEndsWhereTheDescentDoes(t *testing.T) {
	r, err := run.Search(context.Background(), skewed(10, 300), run.Config{Explore: true})
	if err != nil {
		t.Fatal(err)
	}
	use := make([]int64, 10)
	p := skewed(10, 300)
	for i, t := range r.Places {
		use[t] += p.Load[i]
	}
	if !r.Over || r.Broken != 0 || slices.Max(use)-slices.Min(use) > 17 {
		t.Errorf("over %v, broken %d, use %v", r.Over, r.Broken, use)
	}
}

func TestRunEndsWhereItIsEnough(t *testing.T) {
	p := skewed(10, 300)
	half := int64(0)
	config := run.Config{Workers: 2, Barrier: 500, Enough: func(_ int64, cost [problem.MaxTiers]int64) bool {
		if half == 0 {
			half = cost[0] / 2 // of the start
		}
		return cost[0] <= half
	}}
	r, err := run.Search(context.Background(), p, config)
	if err != nil || r.Over || r.Steps == 0 || r.Steps%500 != 0 || r.Cost[0] > half {
		t.Errorf("%d steps, cost %d of at most %d, over %v: %v", r.Steps, r.Cost[0], half, r.Over, err)
	}
	again, err := run.Search(context.Background(), p, run.Config{Workers: 2, Steps: r.Steps - 500})
	if err != nil || again.Cost[0] <= half {
		t.Errorf("half was reached %d steps before the end already: %d of at most %d: %v", 500, again.Cost[0], half, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	r, err := run.Search(ctx, skewed(10, 300), run.Config{Explore: true, Steps: 1 << 50, Progress: func(int64, int64, [problem.MaxTiers]int64) {
		if calls++; calls == 3 {
			cancel()
		}
	}})
	if err != nil || calls != 3 || len(r.Places) != 300 {
		t.Errorf("%v after %d barriers, %d places", err, calls, len(r.Places))
	}
}

func TestBadProblemIsRefused(t *testing.T) {
	p := skewed(10, 300)
	p.Load[0] = -1
	if _, err := run.Search(context.Background(), p, run.Config{}); !errors.Is(err, problem.ErrNegative) {
		t.Errorf("%v", err)
	}
}
