package goals

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/share"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
)

// stateGoals states what policies try to reach. What a goal says of servers is said once, whichever classes of shards it is said for.
func (s *stated) stateGoals() {
	var said []terms.Goal
	for c := range s.Terms.Classes {
		for _, g := range s.Terms.Classes[c].Goals {
			goal := problem.Goal{Weight: g.Weight, Tier: s.tiers.of[g.Tier]}
			switch g.Kind {
			case terms.Preference:
				s.prefer(c, &g, goal)
				continue
			case terms.Apart:
				s.apart(c, &g, goal)
				continue
			case terms.Latency:
				s.near(c, &g, goal)
				continue
			case terms.Movement:
				s.movement(c, &g, goal)
				continue
			case terms.Cost:
				s.cost(c, &g, goal)
				continue
			case terms.Failover:
				s.failover(c, &g, goal)
				continue
			case terms.Drain, terms.Utilization, terms.Balance: // of servers
			}
			if !slices.ContainsFunc(said, func(other terms.Goal) bool { return same(g, other) }) {
				said = append(said, g)
				s.ofServers(&g, goal)
			}
		}
	}
	s.shareFailovers()
}

// same reports whether two goals say the same of servers.
func same(a, b terms.Goal) bool {
	return a.Kind == b.Kind && a.Tier == b.Tier && a.Metric == b.Metric && a.Other == b.Other && a.Regional == b.Regional && a.Largest == b.Largest &&
		a.Percent == b.Percent && a.Milli == b.Milli
}

// ofServers states a goal that counts on each server by itself.
func (s *stated) ofServers(g *terms.Goal, goal problem.Goal) {
	m := slices.Index(s.Task.Metrics, g.Metric) // -1: nothing loads it, and no server limits it
	switch g.Kind {
	case terms.Utilization:
		if m >= 0 {
			s.utilization(m, g, goal)
		}
	case terms.Balance:
		other := slices.Index(s.Task.Metrics, g.Other)
		switch {
		case m < 0:
		case g.Largest:
			goal.Weight = bounded(goal.Weight, problem.MaxUnits*int64(len(s.Task.Servers)))
			k := s.evenness(m, s.shares(m, g.Regional), int64(g.Percent), true, goal)
			if k.Level = -1; g.Regional {
				k.Level = regions
			}
			s.Problem.Peaks = append(s.Problem.Peaks, k)
		case g.Other == "":
			goal.Weight = bounded(goal.Weight, problem.MaxUnits*problem.MaxUnits*int64(len(s.Task.Servers)))
			s.Problem.Balances = append(s.Problem.Balances, s.balance(m, s.shares(m, g.Regional), int64(g.Percent), true, goal))
		case other >= 0:
			s.Problem.Ratios = append(s.Problem.Ratios, s.ratio(m, other, g.Milli, goal))
		}
	case terms.Preference, terms.Apart, terms.Latency, terms.Cost, terms.Movement, terms.Failover: // of shards
	case terms.Drain: // every app has one, above all goals
	}
}

// bounded is a weight, or the largest with which a goal that is so much at worst leaves room for others of its tier in 64 bits.
func bounded(weight, worst int64) int64 { return min(weight, max(1, mostLoad/16/max(1, worst))) }

// stateDrain counts what is where it is not to stay.
func (s *stated) stateDrain() {
	a := problem.Affinity{Of: make([]int32, s.Problem.Replicas), Scale: -1, Goal: problem.Goal{Weight: 1, Tier: s.tiers.drain}}
	for i := range s.Task.Replicas {
		if s.Task.Replicas[i].Leaves {
			a.Of[i] = 1
		}
	}
	if !slices.Contains(a.Of, 1) {
		return
	}
	level := make([]int32, len(s.Task.Servers))
	for i := range s.Task.Servers {
		if s.Task.Servers[i].Accepts {
			level[i] = 1
		}
	}
	level = dense(level)
	row := make([]int64, slices.Max(level)+1)
	for i, d := range level {
		if !s.Task.Servers[i].Accepts {
			row[d] = 1
		}
	}
	a.Level, a.Cost = len(s.Problem.Domains), [][]int64{make([]int64, len(row)), row}
	s.Problem.Domains, s.Problem.Affinities = append(s.Problem.Domains, level), append(s.Problem.Affinities, a)
}

// utilization counts what a server has above its safety capacity.
func (s *stated) utilization(m int, g *terms.Goal, goal problem.Goal) {
	t := problem.Threshold{Metric: m, Goal: goal}
	for i := range s.Task.Servers {
		limit, per := int64(mostLoad), int64(mostLoad)
		if c := s.Task.Servers[i].Capacity[m]; c != load.Unlimited {
			limit, per = max(0, load.MulDiv(s.scaled(m, c), int64(g.Percent), 100)-s.outside(i, m)), max(1, s.scaled(m, c))
		}
		t.Limit, t.Per = append(t.Limit, limit), append(t.Per, per)
	}
	t.Weight = bounded(goal.Weight, int64(len(t.Per))*problem.MaxMillionths)
	s.Problem.Thresholds = append(s.Problem.Thresholds, t)
}

// shares are what servers should have of a metric, of all that is on those that are targets: by capacity where all of them limit it, else alike.
func (s *stated) shares(m int, regional bool) func(server int) int64 {
	group, totals := share.All, []int64{0}
	if regional {
		group = func(server int) int { return int(s.Problem.Domains[regions][server]) }
		totals = make([]int64, len(s.Task.Servers))
	}
	capacity := make([]int64, len(s.Task.Servers))
	for i := range capacity {
		capacity[i] = s.Task.Servers[i].Capacity[m]
	}
	weights := share.Weights(capacity, func(server int) bool { return s.Task.Servers[server].Accepts })
	for i, w := range weights {
		if w > 0 {
			totals[group(i)] = load.Plus(totals[group(i)], s.Task.Servers[i].Settled[m])
		}
	}
	shares := share.Divide(totals, weights, group)
	return func(server int) int64 { return shares[server] }
}

// ratio wants milli units of another metric free for 1000 of the metric.
func (s *stated) ratio(m, other int, milli int64, goal problem.Goal) problem.Ratio {
	return problem.Ratio{A: m, B: other, Target: load.MulDiv(milli, s.scale[other], 1000*s.scale[m]), Goal: goal}
}
