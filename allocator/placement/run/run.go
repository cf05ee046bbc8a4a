// Package run lets searches of the placement engine run for a time, side by side. The searches themselves know neither clock nor goroutine:
// all workers make the same number of steps between two barriers, and only there somebody looks at the clock. A run that was timed is
// therefore repeated exactly by its seed, its number of workers and the steps that it answers.
package run

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// Config says how long to search, and with how many workers.
type Config struct {
	Seed    uint64
	Workers int           // at least 1; those with odd numbers begin hotter
	Time    time.Duration // 0: no limit
	Steps   int64         // of each worker; 0: no limit. Without either limit a run ends where the descent does.
	Explore bool          // go on after the descent, until a limit
	Horizon int64         // planned steps of each worker's exploration; 0: rounds that grow
	Barrier int64         // steps between two barriers; 0: 200 000

	Ungrouped bool // as of engine.Options

	// Enough ends the run at a barrier where it says so of the best assignment so far; nil: nothing is.
	Enough func(broken int64, cost [problem.MaxTiers]int64) bool
	// Progress is called at barriers; nil: nobody is told.
	Progress func(steps int64, broken int64, cost [problem.MaxTiers]int64)
}

// Result is the best assignment that any worker found.
type Result struct {
	Places []int32 // [Replicas]
	Broken int64
	Cost   [problem.MaxTiers]int64
	Steps  int64                   // of each worker
	Over   bool                    // more time would be in vain
	Bound  [problem.MaxTiers]int64 // what each tier costs at least

	Built, Took time.Duration // to lay out the problem, and to search after that
}

// barrier is how many steps workers make between two looks at the clock, if nobody says otherwise.
const barrier = 200_000

// hotter is how hot workers with odd numbers begin. What is right depends on the problem: too hot takes longer to cool, too cold does not reach far.
const hotter = 10

// Search runs until a limit, until nothing is left to improve, or until ctx ends; that is no error.
func Search(ctx context.Context, p *problem.Problem, c Config) (Result, error) {
	c.Workers = max(1, c.Workers)
	explore := c.Explore && (c.Time > 0 || c.Steps > 0)
	options := func(w int) engine.Options {
		o := engine.Options{Seed: c.Seed + uint64(w)<<32, Explore: explore, Ungrouped: c.Ungrouped, Horizon: c.Horizon}
		if w%2 == 1 {
			o.Hot = hotter
		}
		return o
	}
	begin := time.Now()
	first, err := engine.NewSearch(p, options(0))
	if err != nil {
		return Result{}, err
	}
	searches := []*engine.Search{first}
	for w := 1; w < c.Workers; w++ {
		searches = append(searches, first.Fork(options(w)))
	}
	built, steps, over := time.Since(begin), int64(0), false
	enough := func() bool {
		broken, cost := best(searches).Cost()
		return c.Enough != nil && c.Enough(broken, cost)
	}
	for ctx.Err() == nil && !over && !enough() && (c.Time == 0 || time.Since(begin) < c.Time) && (c.Steps == 0 || steps < c.Steps) {
		n := cmp.Or(c.Barrier, barrier)
		if c.Steps > 0 {
			n = min(n, c.Steps-steps)
		}
		over = together(searches, n)
		steps += n
		leader := best(searches)
		for _, s := range searches {
			s.Adopt(leader)
		}
		if c.Progress != nil {
			broken, cost := best(searches).Cost()
			c.Progress(steps, broken, cost)
		}
	}
	r := Result{Steps: steps, Over: over, Bound: first.Bound(), Built: built, Took: time.Since(begin) - built}
	r.Places, r.Broken, r.Cost = best(searches).Best(nil)
	return r, nil
}

// together lets each search make n steps, and reports whether all are over, or one that nobody can better.
func together(searches []*engine.Search, n int64) (over bool) {
	var wait sync.WaitGroup
	for _, s := range searches[1:] {
		wait.Go(func() { s.Step(n) })
	}
	searches[0].Step(n)
	wait.Wait()
	over = true
	for _, s := range searches {
		if s.Proven() {
			return true
		}
		over = over && s.Over()
	}
	return over
}

func best(searches []*engine.Search) *engine.Search {
	b := searches[0]
	for _, s := range searches[1:] {
		if s.Better(b) {
			b = s
		}
	}
	return b
}
