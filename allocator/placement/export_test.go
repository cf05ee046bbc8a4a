package placement

import "github.com/shardmanager/shardmanager/allocator/placement/goals"

// Judged is how the engine sees an input before it moves anything, and by shard and replica which of its replicas each is.
func Judged(in Input) (found *goals.Outcome, replica map[[2]int]int, err error) {
	e := newState(&in).gathered()
	replica = map[[2]int]int{}
	for r, of := range e.refs {
		replica[[2]int{of.i, of.k}] = r
	}
	found, err = e.task.Solve(0)
	return found, replica, err
}
