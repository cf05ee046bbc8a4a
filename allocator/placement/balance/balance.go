// Package balance states for the engine how servers are brought near to their fair shares, in as few moves as it takes: the sum of squares of
// what each has above its share, beyond the tolerance, and with that the least, of what each has below.
package balance

import (
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/internal/load"
)

// Task is what is to be balanced. What may not move is not among the replicas: it takes room and share from the server where it is.
type Task struct {
	Servers   []Server
	Replicas  []Replica // group by group
	Groups    int
	Average   load.Vector      // of a replica: no server can come nearer to its share than by half of it
	Tolerance int64            // in percent of a share
	Tie       int              // a metric that no move is worth, and that decides between equal ones; -1: none
	Eligible  [][]uint64       // classes, as of problem.Problem
	Domains   [][]int32        // levels, likewise
	Spreads   []problem.Spread // likewise
	Moves     int32            // at most, one of each group
	scale     []int64          // by metric: units of the problem for one of ours, so that small numbers have fractions
}

// Server is a place, with all that is on it.
type Server struct {
	Capacity, Charged, Settled, Share load.Vector // Charged counts a replica in motion at both places, Settled where it will be
	Moves                             int32       // at most, from or to it
}

// Replica is one that is counted on a server.
type Replica struct {
	Group, At, Class int32
	Load             load.Vector
	Added            bool // it is not there yet, and may go elsewhere for nothing
	Pinned           bool
}

const (
	mostLoad = math.MaxInt64 / 8 // of anything in the problem
	fine     = 1000              // units of the problem that an average load has at least
)

// Tiers of goals.
const (
	above = iota // first: that is where load is felt
	below
	movement
	ties
	tiers
)

// Solve answers where the replicas go, in at most so many steps of the engine.
func (t *Task) Solve(steps int64) ([]int32, error) {
	t.scale = t.scale[:0]
	for _, average := range t.Average {
		t.scale = append(t.scale, fine/min(max(average, 1), fine))
	}
	search, err := engine.NewSearch(t.state(), engine.Options{})
	if err != nil {
		return nil, err
	}
	search.Step(steps)
	places, _, _ := search.Best(nil)
	return places, nil
}

// scaled is an amount of a metric in units of the problem.
func (t *Task) scaled(m int, v int64) int64 {
	most := mostLoad / t.scale[m]
	return min(max(v, -most), most) * t.scale[m]
}

func (t *Task) state() *problem.Problem {
	n := len(t.Average)
	p := &problem.Problem{Metrics: n, Servers: len(t.Servers), Replicas: len(t.Replicas), Groups: t.Groups, Tiers: tiers,
		During: slices.Repeat([]bool{true}, n), Exclusive: slices.Repeat([]bool{true}, t.Groups), Eligible: t.Eligible, Domains: t.Domains, Spreads: t.Spreads,
		Caps: problem.Caps{Group: 1, Total: t.Moves}, Movement: problem.Movement{Replica: slices.Repeat([]int64{1}, len(t.Replicas)), ReplicaWeight: 1, Tier: movement}}
	inside := make([]int64, p.Servers*n) // load of the replicas
	for i := range t.Replicas {
		r := &t.Replicas[i]
		start := r.At
		if r.Added {
			start = problem.Unplaced
		}
		p.Group, p.Class, p.Pinned = append(p.Group, r.Group), append(p.Class, r.Class), append(p.Pinned, r.Pinned)
		p.First, p.Start = append(p.First, r.At), append(p.Start, start)
		for m, l := range r.Load {
			p.Load = append(p.Load, t.scaled(m, l))
			inside[int(r.At)*n+m] += t.scaled(m, l)
		}
	}
	for i := range t.Servers {
		s := &t.Servers[i]
		p.Caps.Server = append(p.Caps.Server, s.Moves)
		for m := range n {
			room := t.scaled(m, s.Capacity[m]) - t.scaled(m, s.Charged[m]) + inside[i*n+m]
			p.Capacity = append(p.Capacity, min(max(room, 0), mostLoad))
		}
	}
	for m := range n {
		p.Balances = append(p.Balances, t.goals(m, inside)...)
	}
	return p
}

// goals are those of a metric.
func (t *Task) goals(m int, inside []int64) []problem.Balance {
	b := problem.Balance{Metric: m, Goal: problem.Goal{Weight: 1, Tier: ties}}
	over := make([]int64, 0, len(t.Servers))
	for i := range t.Servers {
		s := &t.Servers[i]
		share := t.scaled(m, s.Share[m])
		unit := max(1, share/1000)
		if share == 0 {
			unit = mostLoad // it takes no part in this metric
		}
		b.Share = append(b.Share, share-t.scaled(m, s.Settled[m])+inside[i*len(t.Average)+m])
		half, off := load.MulDiv(share, t.Tolerance, 400), t.scaled(m, s.Settled[m])-share
		slack := half + t.scaled(m, t.Average[m])/2
		b.Slack, b.Free = append(b.Slack, slack), append(b.Free, free(max(off, -off), slack, half, unit))
		over = append(over, free(off, slack, half, unit))
		b.Unit = append(b.Unit, unit)
	}
	if m == t.Tie {
		return []problem.Balance{b}
	}
	high := b
	high.Free, high.Above, high.Tier, b.Tier = over, true, above, below
	return []problem.Balance{high, b}
}

// free is what a server is off its share costs already, if it is within the tolerance: half of that is what servers are brought within, with half a
// replica's load to spare. So none within the tolerance has to move, one beyond comes half way in, and loads that go up and down by as much move nothing.
func free(off, slack, half, unit int64) int64 {
	if off <= slack || off > slack+half {
		return 0
	}
	u := min((off-slack)/unit, problem.MaxUnits)
	return u * u
}
