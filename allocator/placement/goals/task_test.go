package goals_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/goals"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/internal/load"
)

// task is servers that carry so much besides the replicas, which are all on the first one and weigh 1 each.
func task(replicas int, fixed ...int64) *goals.Task {
	t := &goals.Task{Groups: replicas, Average: load.Vector{1}, Tolerance: 10, Metrics: []string{"shards"}, Tie: -1, Moves: 1000, Eligible: [][]uint64{nil}}
	total := int64(replicas)
	for _, f := range fixed {
		total += f
	}
	for i, f := range fixed {
		if i == 0 {
			f += int64(replicas)
		}
		t.Servers = append(t.Servers, goals.Server{Capacity: load.Vector{load.Unlimited}, Charged: load.Vector{f}, Settled: load.Vector{f},
			Share: load.Vector{total / int64(len(fixed))}, Moves: 1000})
	}
	for r := range replicas {
		t.Replicas = append(t.Replicas, goals.Replica{Group: int32(r), Load: load.Vector{1}})
	}
	return t
}

func counts(places []int32, servers int) []int {
	n := make([]int, servers)
	for _, t := range places {
		n[t]++
	}
	return n
}

func TestSolve(t *testing.T) {
	for name, c := range map[string]struct {
		task *goals.Task
		want []int
	}{
		"to an empty server":           {task(20, 0, 0), []int{10, 10}},
		"beside what is not in it":     {task(20, 0, 10), []int{15, 5}},
		"no finer than one replica":    {task(2, 9, 9), []int{2, 0}},
		"no more moves than there are": {func() *goals.Task { t := task(20, 0, 0); t.Moves = 3; return t }(), []int{17, 3}},
		"nor from or to a server":      {func() *goals.Task { t := task(20, 0, 0); t.Servers[1].Moves = 2; return t }(), []int{18, 2}},
		"where there is room":          {func() *goals.Task { t := task(20, 0, 0); t.Servers[1].Capacity[0] = 4; return t }(), []int{16, 4}},
		"a metric that only decides":   {func() *goals.Task { t := task(20, 0, 0); t.Tie = 0; return t }(), []int{20, 0}},
		"nothing within the band":      {task(20, 85, 95), []int{20, 0}},
		"from its edge half way in":    {task(20, 87, 93), []int{16, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := c.task.Solve(1_000_000)
			if err != nil {
				t.Fatal(err)
			}
			got := counts(found.Places, len(c.task.Servers))
			// within half a replica and the tolerance, several are as good
			for i := range got {
				if d := got[i] - c.want[i]; d < -1 || d > 1 || slices.Contains(c.want, 0) && d != 0 {
					t.Errorf("%v, expected %v", got, c.want)
				}
			}
			if capped := c.task.Moves < 1000 || c.task.Servers[1].Moves < 1000 || c.task.Servers[1].Capacity[0] < 1000; capped && got[1] > c.want[1] {
				t.Errorf("%v, at most %v", got, c.want)
			}
		})
	}
}

func TestLoadsBeyondTheEngineAreRefused(t *testing.T) {
	bad := task(20, 0, 0)
	for i := range bad.Replicas {
		bad.Replicas[i].Load = load.Vector{math.MaxInt64}
	}
	if _, err := bad.Solve(1000); !errors.Is(err, problem.ErrOverflow) {
		t.Errorf("%v", err)
	}
}
