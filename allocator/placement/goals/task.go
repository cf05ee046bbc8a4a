// Package goals states for the engine where the replicas of an app may be and should be: what policies say (terms), tier by tier, and below that the
// balance that every app has: servers near to their fair shares, in as few moves as it takes.
package goals

import (
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// Task is what is to be solved. What is not among the replicas takes room and share from the server where it is.
type Task struct {
	Metrics   []string
	Servers   []Server
	Replicas  []Replica // group by group
	Groups    int
	Average   load.Vector  // of a replica: no server can come nearer to its share than by half of it
	Tolerance int64        // in percent of a share
	Tie       int          // a metric that no move is worth, and that decides between equal ones; -1: none
	Eligible  [][]uint64   // made by Class
	Domains   [][]int32    // fault domains of the servers, by any label: hosts, racks, zones, regions
	Spreads   []Spread     // over them
	Moves     int32        // at most, one of each group
	Terms     *terms.Terms // nil: nothing
	Latency   latency.Matrix

	Left [][]int32 // positions in the terms of servers that replicas are not to go back to

	classes map[Confines]int32
}

// Server is a place, with all that is on it.
type Server struct {
	Position                          int         // in the terms
	Region                            string      // by name
	InRegion, Rank                    int         // its position among the regions, and how much primaries prefer that
	Accepts                           bool        // a target
	Capacity, Charged, Settled, Share load.Vector // Charged counts a replica in motion at both places, Settled where it will be
	Moves                             int32       // at most, from or to it
}

// Spread says over how many domains of a width the replicas of a group are spread. 0 demands nothing.
type Spread struct {
	Group int
	Width locality.Domain
	Min   int // at least
	Max   int // replicas in one domain
	Want  int // a goal
}

// Replica is one that is counted on a server.
type Replica struct {
	Group, At, Class int32
	Now              int32 // where it is, if that is not At because a move is under way; -1: nowhere
	Shard            int   // position in the terms
	Load             load.Vector
	Primary          bool
	Ranked           bool // it wants to be where the rank is least
	Added            bool // it is not there yet, and may go elsewhere for nothing
	Free             bool // it is added, and At is only where it is counted: the engine finds its place, or none
	Leaves           bool // its server is to be left
	Pinned           bool
}

const (
	mostLoad = math.MaxInt64 / 8 // of anything in the problem
	fine     = 1000              // units of the problem that an average load has at least
)

// Outcome is what was found.
type Outcome struct {
	Schedule
	search *engine.Search // nil: it failed
	failed error
	stated *stated
	target []int32 // of all replicas that are stated, where the search has them
}

// Solve answers where the replicas go, in at most so many steps of the engine. With an error, they stay where they are, and those that are free have
// no place.
func (t *Task) Solve(steps int64) (*Outcome, error) {
	s := t.state()
	o := &Outcome{stated: s}
	for i := range t.Replicas {
		o.Order = append(o.Order, int32(i))
	}
	if o.failed = o.solve(&s.Problem, steps); o.failed != nil {
		for i := range t.Replicas {
			if at := t.Replicas[i].At; !t.Replicas[i].Free {
				o.Places = append(o.Places, at)
			} else {
				o.Places = append(o.Places, problem.Unplaced)
			}
		}
		return o, o.failed
	}
	return o, o.schedule()
}

// solve finds places by a search of a problem that is stated.
func (o *Outcome) solve(p *problem.Problem, steps int64) error {
	search, err := engine.NewSearch(p, engine.Options{})
	if err != nil {
		return err
	}
	search.Step(steps)
	o.search = search
	o.target, _, _ = search.Best(nil)
	o.Places = o.target[:len(o.stated.Task.Replicas)]
	return nil
}

// stated is a task in the terms of the engine.
type stated struct {
	problem.Problem
	*Task
	scale  []int64 // by metric: units of the problem for one of ours, so that small numbers have fractions
	inside []int64 // [servers × metrics]: load of the replicas
	tiers  tiers

	ofClass    [][]int32          // replicas by class of the terms
	groups     map[spreadOf]int   // position of what is said of a group at a level
	affinities map[affinityOf]int // likewise

	shadows map[int]bool        // groups that stand for where others start
	named   map[spreadOf]string // constraints of policies
	related map[problem.Relation]string
}

func (t *Task) state() *stated {
	n := len(t.Average)
	s := &stated{Task: t, inside: make([]int64, len(t.Servers)*n), groups: map[spreadOf]int{}, shadows: map[int]bool{}, named: map[spreadOf]string{},
		related: map[problem.Relation]string{}, affinities: map[affinityOf]int{}}
	for _, average := range t.Average {
		s.scale = append(s.scale, fine/min(max(average, 1), fine))
	}
	s.Problem = problem.Problem{Metrics: n, Servers: len(t.Servers), Replicas: len(t.Replicas), Groups: t.Groups, During: slices.Repeat([]bool{true}, n),
		Exclusive: slices.Repeat([]bool{true}, t.Groups), Eligible: t.Eligible, Caps: problem.Caps{Group: 1, Total: t.Moves}}
	for _, labels := range t.Domains {
		s.Problem.Domains = append(s.Problem.Domains, dense(labels))
	}
	s.stateReplicas()
	s.stateServers()
	s.tiers = tiersOf(t.Terms, slices.ContainsFunc(t.Replicas, func(r Replica) bool { return r.Ranked }))
	for _, a := range t.Spreads {
		goal := problem.Goal{Weight: 1 << (10 * (a.Width - locality.Host)), Tier: s.tiers.apart} // a wider domain is worth a thousand narrower ones
		s.spread(problem.Spread{Group: a.Group, Level: int(a.Width - locality.Host), Min: a.Min, Max: a.Max, Want: a.Want, Goal: goal}, "")
	}
	s.Problem.Tiers = s.tiers.count
	s.Problem.Unplaced = problem.Goal{Weight: 1, Tier: 0}
	if t.Terms != nil {
		s.classify()
		s.stateConstraints()
		s.stateGoals()
	}
	s.stateDrain()
	s.stateRanks()
	s.stateBalance()
	if s.Problem.Movement.Replica == nil {
		s.Problem.Movement = problem.Movement{Replica: slices.Repeat([]int64{1}, s.Problem.Replicas), ReplicaWeight: 1, Tier: s.tiers.movement}
	}
	return s
}

func (s *stated) stateReplicas() {
	n := s.Problem.Metrics
	for i := range s.Task.Replicas {
		r := &s.Task.Replicas[i]
		first, start := r.At, r.At
		if r.Added {
			start = problem.Unplaced
		}
		if r.Free {
			first = problem.Unplaced
		}
		s.add(r.Group, start, first, r.Class, r.Pinned)
		for m, l := range r.Load {
			s.Problem.Load = append(s.Problem.Load, s.scaled(m, l))
			s.inside[int(r.At)*n+m] += s.scaled(m, l)
		}
	}
}

// classify lists the replicas of each class of the terms.
func (s *stated) classify() {
	s.ofClass = make([][]int32, len(s.Terms.Classes))
	for i := range s.Task.Replicas {
		class := s.Terms.Of[s.Task.Replicas[i].Shard]
		s.ofClass[class] = append(s.ofClass[class], int32(i))
	}
}

// add appends a replica but for its load.
func (s *stated) add(group, start, first, class int32, pinned bool) {
	p := &s.Problem
	p.Group, p.Start, p.First = append(p.Group, group), append(p.Start, start), append(p.First, first)
	p.Class, p.Pinned = append(p.Class, class), append(p.Pinned, pinned)
}

func (s *stated) stateServers() {
	n := s.Problem.Metrics
	for i := range s.Task.Servers {
		server := &s.Task.Servers[i]
		s.Problem.Caps.Server = append(s.Problem.Caps.Server, server.Moves)
		for m := range n {
			room := s.scaled(m, server.Capacity[m]) - s.scaled(m, server.Charged[m]) + s.inside[i*n+m]
			s.Problem.Capacity = append(s.Problem.Capacity, min(max(room, 0), mostLoad))
		}
	}
}

// scaled is an amount of a metric in units of the problem.
func (s *stated) scaled(m int, v int64) int64 {
	most := mostLoad / s.scale[m]
	return min(max(v, -most), most) * s.scale[m]
}

// outside is what a server carries of a metric that is not among the replicas.
func (s *stated) outside(server, m int) int64 {
	return s.scaled(m, s.Task.Servers[server].Settled[m]) - s.inside[server*s.Problem.Metrics+m]
}

// stateBalance states the balance that every app has, of the metrics that no goal balances.
func (s *stated) stateBalance() {
	for m := range s.Problem.Metrics {
		if s.tiers.balanced[s.Task.Metrics[m]] {
			continue
		}
		share := func(server int) int64 { return s.Task.Servers[server].Share[m] }
		state := func(above bool, tier int) {
			s.Problem.Balances = append(s.Problem.Balances, s.balance(m, share, s.Task.Tolerance, above, problem.Goal{Weight: 1, Tier: tier}))
		}
		if m == s.Task.Tie {
			state(false, s.tiers.ties)
			continue
		}
		state(true, s.tiers.above)
		state(false, s.tiers.below)
	}
}

// balance states that servers have their shares of a metric, or no more than those, within a tolerance in percent.
func (s *stated) balance(m int, share func(server int) int64, tolerance int64, above bool, goal problem.Goal) problem.Balance {
	b := s.evenness(m, share, tolerance, above, goal)
	for i, u := range b.Free {
		b.Free[i] = u * u
	}
	return b
}

// evenness is a balance, with what is free of charge in units and not in their squares; a share of 0 takes no part.
func (s *stated) evenness(m int, share func(server int) int64, tolerance int64, above bool, goal problem.Goal) problem.Balance {
	b := problem.Balance{Metric: m, Above: above, Goal: goal}
	for i := range s.Task.Servers {
		v := s.scaled(m, share(i))
		unit := max(1, v/1000)
		if v == 0 {
			unit = mostLoad // it takes no part in this metric
		}
		b.Share = append(b.Share, v-s.outside(i, m))
		half, off := load.MulDiv(v, tolerance, 400), s.scaled(m, s.Task.Servers[i].Settled[m])-v
		slack := half + s.scaled(m, s.Average[m])/2
		if !above {
			off = max(off, -off)
		}
		b.Slack, b.Free = append(b.Slack, slack), append(b.Free, free(off, slack, half, unit))
		b.Unit = append(b.Unit, unit)
	}
	return b
}

// free is by how many units a server is off its share for nothing, if it is within the tolerance: half of that is what servers are brought within, with half a
// replica's load to spare. So none within the tolerance has to move, one beyond comes half way in, and once all are that near, loads that go up and
// down by as much move nothing.
func free(off, slack, half, unit int64) int64 {
	if off <= slack || off > slack+half {
		return 0
	}
	return min((off-slack)/unit, problem.MaxUnits)
}
