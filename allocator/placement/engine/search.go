package engine

import (
	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/wyrand"
	"github.com/shardmanager/shardmanager/internal/invariant"
)

// Options of a search.
type Options struct {
	Seed uint64

	// Explore goes on after the descent: it accepts losses to find its way out of local optima, for as long as it is asked to. Without it
	// the search ends where no proposal of the descent improves anything.
	Explore bool

	// Hot is the first temperature of exploration, in mean losses of a move; 0: 3.
	Hot float64

	// Ungrouped samples targets anywhere, and tries replicas that are alike one by one: for comparison.
	Ungrouped bool

	// Horizon is for how many steps exploration is planned; 0: it is planned anew in rounds that grow.
	Horizon int64
}

// Search improves one assignment. It is not safe for concurrent use; searches of one problem may run side by side.
type Search struct {
	assignment.State
	options  Options
	random   wyrand.Random
	active   int // the tier that is being improved, from 1; lower ones do not count
	best     []int32
	bestCost assignment.Vector
	changed  []int32       // replicas that are elsewhere than in best, or were
	differs  []bool        // [Replicas]: in changed
	weights  *layout.Model // the problem's own; State's may be others for a while
	changing *layout.Model // with those others
	steps    int64
	target   int64 // of steps
	descent  descent
	anneal   annealing
	links    []link // scratch: the chain that is proposed
}

// NewSearch starts from the current assignment. It fails as Validate does.
func NewSearch(p *problem.Problem, o Options) (*Search, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	m, err := layout.New(p)
	if err != nil {
		return nil, err
	}
	return newSearch(m, o), nil
}

func newSearch(m *layout.Model, o Options) *Search {
	s := &Search{State: *assignment.New(m), options: o, random: wyrand.Random(o.Seed), active: 1, differs: make([]bool, m.Replicas), weights: m}
	if o.Explore {
		s.changing = m.WithOwnWeights()
	}
	s.descent.random = wyrand.Random(o.Seed ^ 0x5bd1e995)
	s.best = append([]int32(nil), s.Place...)
	s.bestCost = s.Costs
	return s
}

// Fork is a search of the same problem from its start, with other options. It shares what is never written.
func (s *Search) Fork(o Options) *Search { return newSearch(s.weights, o) }

// move carries out a proposal for one replica.
func (s *Search) move(r, to int32) {
	if !s.differs[r] {
		s.differs[r] = true
		s.changed = append(s.changed, r)
	}
	s.Apply(r, to)
}

// putBack moves a replica to where it was. What was broken there, and was mended meanwhile, is broken again.
func (s *Search) putBack(r, to int32) {
	s.Unchecked = true
	s.move(r, to)
	s.Unchecked = false
}

// note keeps the assignment if it is the best so far.
func (s *Search) note() {
	if s.M != s.weights || !s.Costs.Less(&s.bestCost, s.M.Tiers) {
		return
	}
	s.bestCost = s.Costs
	for _, r := range s.changed {
		s.best[r], s.differs[r] = s.Place[r], false
	}
	s.changed = s.changed[:0]
}

// restore makes the best assignment the current one.
func (s *Search) restore() {
	s.Unchecked = true
	for _, r := range s.changed {
		s.Apply(r, s.best[r])
		s.differs[r] = false
	}
	s.changed = s.changed[:0]
	s.Unchecked = false
}

// Best appends the best assignment so far to places, [Replicas], with problem.Unplaced where a replica has no place, and answers what it breaks
// and its cost by tier of goals.
func (s *Search) Best(places []int32) (list []int32, broken int64, cost [problem.MaxTiers]int64) {
	copy(cost[:], s.bestCost[1:])
	return s.M.WithUnplaced(places, s.best), s.bestCost[0], cost
}

// Current is Best for the assignment that the search is at.
func (s *Search) Current() (list []int32, broken int64, cost [problem.MaxTiers]int64) {
	costs := s.CostsBy(s.weights)
	copy(cost[:], costs[1:])
	return s.M.WithUnplaced(nil, s.Place), costs[0], cost
}

// Adopt takes over the best assignment of another search of the same problem, if it is better. Exploration goes on from there in its next round; in its
// first one, which is the longest, it goes its own way.
func (s *Search) Adopt(o *Search) {
	if s.anneal.round < 2 || !o.Better(s) {
		return
	}
	s.bestCost = o.bestCost
	copy(s.best, o.best)
	s.changed = s.changed[:0]
	for r, t := range s.best {
		if s.differs[r] = t != s.Place[r]; s.differs[r] {
			s.changed = append(s.changed, int32(r))
		}
	}
}

// Better reports whether its best assignment is better than that of another search of the same problem.
func (s *Search) Better(than *Search) bool { return s.bestCost.Less(&than.bestCost, s.M.Tiers) }

// Step judges at least n proposals, as many more as finish a piece of work: the result of Step(a) and Step(b) is that of Step(a + b), if
// all is counted from the start. It does nothing once the search is over.
func (s *Search) Step(n int64) {
	if invariant.Enabled {
		defer s.check(s.steps)
	}
	for s.target += n; s.steps < s.target && !s.Over(); {
		if !s.descent.over {
			s.descend()
		} else {
			s.explore(s.target - s.steps)
		}
	}
}

// checkEach is how many steps for each replica there are between two recounts.
const checkEach = 16

// check recounts the sums after a Step, every so many steps.
func (s *Search) check(before int64) {
	if every := 1 + checkEach*int64(s.M.Replicas); s.steps/every != before/every || before == 0 {
		wrong := s.Wrong()
		invariant.Check(wrong == "", "after %d steps: %s", s.steps, wrong)
	}
}

// Descended reports whether the descent is over.
func (s *Search) Descended() bool { return s.descent.over }

// Over reports whether more steps are in vain: nothing can be improved, or is to be.
func (s *Search) Over() bool {
	return s.descent.over && (!s.options.Explore || s.M.Replicas == 0 || s.Proven())
}

// Proven reports whether nothing is broken and no goal can cost less.
func (s *Search) Proven() bool { return s.bestCost == s.Least }

// Bound is what each tier of goals costs at least.
func (s *Search) Bound() (cost [problem.MaxTiers]int64) {
	copy(cost[:], s.Least[1:])
	return cost
}

// Steps is how many proposals were judged.
func (s *Search) Steps() int64 { return s.steps }

// Cost is what the best assignment so far breaks, and costs by tier of goals.
func (s *Search) Cost() (broken int64, cost [problem.MaxTiers]int64) {
	copy(cost[:], s.bestCost[1:])
	return s.bestCost[0], cost
}
