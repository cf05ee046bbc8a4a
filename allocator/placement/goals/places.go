package goals

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
)

const regions = int(locality.Region - locality.Host) // level of Task.Domains

// regionNames are the regions by their domain.
func (s *stated) regionNames() []string {
	var names []string
	for i, d := range s.Problem.Domains[regions] {
		for int(d) >= len(names) {
			names = append(names, "")
		}
		names[d] = s.Task.Servers[i].Region
	}
	return names
}

// affinityOf is a kind of goal in a tier, of which a replica has one row at most.
type affinityOf struct {
	kind      terms.Kind
	primaries bool
	tier      int
	scale     int // by a metric; -1: by none
}

// affinity is what a goal says of replicas by region, so far nothing.
func (s *stated) affinity(key affinityOf) *problem.Affinity {
	at, known := s.affinities[key]
	if !known {
		at = len(s.Problem.Affinities)
		s.affinities[key] = at
		s.Problem.Affinities = append(s.Problem.Affinities, problem.Affinity{Level: regions, Cost: [][]int64{make([]int64, len(s.regionNames()))}, Scale: key.scale,
			Of: make([]int32, s.Problem.Replicas), Goal: problem.Goal{Weight: 1, Tier: key.tier}})
	}
	return &s.Problem.Affinities[at]
}

// places states what it costs that those replicas of a class that count are in a region.
func (s *stated) places(class int, key affinityOf, weight int64, row []int64, counts func(r *Replica) bool) {
	key.scale = -1
	a := s.affinity(key)
	weight = bounded(weight, slices.Max(row)*int64(len(s.Task.Replicas)))
	for i := range row {
		row[i] *= weight
	}
	a.Cost = append(a.Cost, row)
	for _, i := range s.ofClass[class] {
		if counts(&s.Task.Replicas[i]) {
			a.Of[i] = int32(len(a.Cost) - 1)
		}
	}
}

// prefer counts the place of a replica's region in a list.
func (s *stated) prefer(class int, g *terms.Goal, goal problem.Goal) {
	var row []int64
	for _, name := range s.regionNames() {
		at := slices.Index(g.Regions, name)
		if at < 0 {
			at = len(g.Regions)
		}
		row = append(row, int64(at))
	}
	s.places(class, affinityOf{kind: g.Kind, primaries: g.Primaries, tier: goal.Tier}, goal.Weight, row, func(r *Replica) bool { return r.Primary || !g.Primaries })
}

// stateRanks counts the ranks of the regions where ranked replicas are.
func (s *stated) stateRanks() {
	ranked := func(r Replica) bool { return r.Ranked }
	if !slices.ContainsFunc(s.Task.Replicas, ranked) {
		return
	}
	a := s.affinity(affinityOf{kind: terms.Preference, primaries: true, tier: s.tiers.preferred, scale: -1})
	row := make([]int64, len(a.Cost[0]))
	for i, region := range s.Problem.Domains[regions] {
		row[region] = int64(s.Task.Servers[i].Rank)
	}
	a.Cost = append(a.Cost, row)
	for i := range s.Task.Replicas {
		if s.Task.Replicas[i].Ranked {
			a.Of[i] = 1
		}
	}
}

// apart counts the domains that the replicas of a shard of a class lack.
func (s *stated) apart(class int, g *terms.Goal, goal problem.Goal) {
	level := s.level(g.Spread.Over)
	s.eachGroup(s.ofClass[class], func(group, _, replicas int) {
		want := min(g.Spread.AtLeast, replicas)
		if g.Spread.AtMost > 0 {
			want = (replicas + g.Spread.AtMost - 1) / g.Spread.AtMost // in fewer domains, one has too many
		}
		s.spread(problem.Spread{Group: group, Level: level, Want: want, Goal: goal}, "")
	})
}

// movement counts moves of the replicas of a class, each with its weight.
func (s *stated) movement(class int, g *terms.Goal, goal problem.Goal) {
	m := &s.Problem.Movement
	if m.Replica == nil {
		m.Replica, m.Tier = make([]int64, s.Problem.Replicas), goal.Tier
	}
	if g.MostMoved {
		m.GroupWeight = max(m.GroupWeight, goal.Weight)
		s.crowd()
		return
	}
	m.ReplicaWeight = 1
	metric, total := slices.Index(s.Task.Metrics, g.Metric), int64(0)
	for _, i := range s.ofClass[class] {
		total = load.Plus(total, s.weight(&s.Task.Replicas[i], g.Metric, metric))
	}
	weight := bounded(goal.Weight, total)
	for _, i := range s.ofClass[class] {
		m.Replica[i] += weight * s.weight(&s.Task.Replicas[i], g.Metric, metric)
	}
	s.routes(class, g, goal)
}

// crowd counts moves by the groups that policies name. Stand-ins for others stay, each in the crowd of the first.
func (s *stated) crowd() {
	known := map[string]int32{}
	s.Problem.Movement.Crowd = make([]int32, s.Problem.Groups)
	for i := range s.Task.Replicas {
		r := &s.Task.Replicas[i]
		name := s.Terms.Classes[s.Terms.Of[r.Shard]].Group
		if _, ok := known[name]; !ok {
			known[name] = int32(len(known))
		}
		s.Problem.Movement.Crowd[r.Group] = known[name]
	}
}

// weight is what the move of a replica weighs.
func (s *stated) weight(r *Replica, name string, metric int) int64 {
	switch {
	case name == "":
		return 1
	case metric < 0:
		return 0
	}
	return r.Load[metric]
}

// routes states what moves between regions add: as what it costs that a replica that started in one region is in another. To stay must cost no more
// than a move within the region, so what that adds is on the move itself, and taken off all others.
func (s *stated) routes(class int, g *terms.Goal, goal problem.Goal) {
	names := s.regionNames()
	for from, name := range names {
		if !slices.ContainsFunc(g.Moves, func(r terms.Route) bool { return r.From == name }) {
			continue
		}
		add := make([]int64, len(names))
		for to, other := range names {
			for _, r := range g.Moves {
				if r.From == name && r.To == other {
					add[to] = r.Cost
				}
			}
		}
		within := add[from]
		row := make([]int64, len(names))
		for to := range row {
			row[to] = add[to] - within
		}
		row[from] = 0
		least := min(0, slices.Min(row))
		for to := range row {
			row[to] -= least
		}
		starts := func(r *Replica) bool { return !r.Added && int(s.Problem.Domains[regions][r.At]) == from }
		s.places(class, affinityOf{kind: g.Kind, tier: goal.Tier}, goal.Weight, row, starts)
		for _, i := range s.ofClass[class] {
			if starts(&s.Task.Replicas[i]) {
				s.Problem.Movement.Replica[i] += goal.Weight * within
			}
		}
	}
}
