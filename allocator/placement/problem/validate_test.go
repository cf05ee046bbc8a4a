package problem_test

import (
	"errors"
	"math"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// whole is a problem with one of everything.
func whole() *problem.Problem {
	return &problem.Problem{
		Metrics: 2, Servers: 2, Replicas: 2, Groups: 2, Tiers: 2,
		Capacity: []int64{10, 10, 10, 10}, During: []bool{true, false}, Domains: [][]int32{{0, 1}},
		Load: []int64{1, 2, 3, 4}, Group: []int32{0, 1}, Start: []int32{0, problem.Unplaced}, First: []int32{0, 1}, Pinned: []bool{false, false},
		Class: []int32{0, 0}, Eligible: [][]uint64{{3}}, Exclusive: []bool{true, true},
		Spreads:    []problem.Spread{{Group: 0, Level: 0, Min: 1, Max: 1, Want: 1, Goal: problem.Goal{Weight: 1}}},
		Relations:  []problem.Relation{{Group: 0, On: 1, Level: 0}},
		Caps:       problem.Caps{Server: []int32{1, 1}, Group: 1, Total: 1},
		Unplaced:   problem.Goal{Weight: 1},
		Affinities: []problem.Affinity{{Level: 0, Of: []int32{0, 0}, Cost: [][]int64{{0, 1}}, Scale: 1, Goal: problem.Goal{Weight: 1}}},
		Thresholds: []problem.Threshold{{Metric: 1, Limit: []int64{5, 5}, Goal: problem.Goal{Weight: 1}}},
		Ratios:     []problem.Ratio{{A: 0, B: 1, Target: 1, Goal: problem.Goal{Weight: 1}}},
		Balances:   []problem.Balance{{Metric: 0, Share: []int64{2, 2}, Slack: []int64{0, 0}, Unit: []int64{1, 1}, Goal: problem.Goal{Weight: 1}}},
		Peaks:      []problem.Balance{{Metric: 0, Share: []int64{2, 2}, Unit: []int64{1, 1}, Level: -1, Goal: problem.Goal{Weight: 1}}},
		Failovers:  []problem.Failover{{Level: 0, Lead: []bool{true, false}, Fair: []int64{1, 1}, Goal: problem.Goal{Weight: 1}}},
		Opening:    problem.Opening{Cost: []int64{1, 1}, Goal: problem.Goal{Weight: 1}},
		Movement:   problem.Movement{Replica: []int64{1, 1}, ReplicaWeight: 1, Route: []uint32{0, 1, 1, 0}, RouteWeight: 1, GroupWeight: 1, Tier: 1},
	}
}

func TestBadProblems(t *testing.T) {
	if err := whole().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(p *problem.Problem)
		err   error
		says  string
	}{
		"no server":             {func(p *problem.Problem) { p.Servers = 0 }, problem.ErrEmpty, "problem: 0 servers with 2 metrics: empty"},
		"no metric":             {func(p *problem.Problem) { p.Metrics = 0 }, problem.ErrEmpty, ""},
		"no tier":               {func(p *problem.Problem) { p.Tiers = 0 }, problem.ErrLimit, ""},
		"too many tiers":        {func(p *problem.Problem) { p.Tiers = problem.MaxTiers + 1 }, problem.ErrLimit, "problem: 24 tiers, of 1 to 23: over the limit"},
		"negative replicas":     {func(p *problem.Problem) { p.Replicas = -1 }, problem.ErrNegative, ""},
		"too many servers":      {func(p *problem.Problem) { p.Servers = 1 << 40 }, problem.ErrLimit, ""},
		"short capacity":        {func(p *problem.Problem) { p.Capacity = p.Capacity[1:] }, problem.ErrShape, "problem: capacity: 3 values, not 4: wrong length"},
		"short load":            {func(p *problem.Problem) { p.Load = nil }, problem.ErrShape, ""},
		"short pinned":          {func(p *problem.Problem) { p.Pinned = p.Pinned[1:] }, problem.ErrShape, ""},
		"few words of eligible": {func(p *problem.Problem) { p.Eligible[0] = []uint64{} }, problem.ErrShape, ""},
		"unknown class":         {func(p *problem.Problem) { p.Class[1] = 7 }, problem.ErrIndex, "problem: class of replica 1: 7 of 1: unknown index"},
		"negative load":         {func(p *problem.Problem) { p.Load[3] = -1 }, problem.ErrNegative, "problem: load of replica 1: -1: negative"},
		"huge load":             {func(p *problem.Problem) { p.Load[0] = math.MaxInt64 }, problem.ErrOverflow, ""},
		"huge sum":              {func(p *problem.Problem) { p.Load[0], p.Load[2] = math.MaxInt64/5, math.MaxInt64/5 }, problem.ErrOverflow, "problem: total load of metric 0: overflow"},
		"negative capacity":     {func(p *problem.Problem) { p.Capacity[2] = -1 }, problem.ErrNegative, ""},
		"domain below 0":        {func(p *problem.Problem) { p.Domains[0][1] = -1 }, problem.ErrNegative, ""},
		"domain out of range":   {func(p *problem.Problem) { p.Domains[0][1] = 2 }, problem.ErrIndex, ""},
		"unknown group":         {func(p *problem.Problem) { p.Group[0] = 2 }, problem.ErrIndex, ""},
		"unknown start":         {func(p *problem.Problem) { p.Start[0] = 2 }, problem.ErrIndex, "problem: start of replica 0: 2 of 2: unknown index"},
		"unknown first place":   {func(p *problem.Problem) { p.First[0] = -2 }, problem.ErrIndex, ""},
		"spread twice":          {func(p *problem.Problem) { p.Spreads = append(p.Spreads, p.Spreads[0]) }, problem.ErrDuplicate, ""},
		"spread of nobody":      {func(p *problem.Problem) { p.Spreads[0].Group = 9 }, problem.ErrIndex, ""},
		"negative spread":       {func(p *problem.Problem) { p.Spreads[0].Max = -1 }, problem.ErrNegative, ""},
		"relation twice":        {func(p *problem.Problem) { p.Relations = append(p.Relations, p.Relations[0]) }, problem.ErrDuplicate, ""},
		"with and not with": {func(p *problem.Problem) {
			p.Relations = append(p.Relations, problem.Relation{Group: 0, On: 1, Not: true})
		}, problem.ErrContradiction, "problem: relation 1: group 0 to 1 at level 0: contradiction"},
		"not with itself":         {func(p *problem.Problem) { p.Relations[0] = problem.Relation{Group: 0, On: 0, Not: true} }, problem.ErrContradiction, ""},
		"negative cap":            {func(p *problem.Problem) { p.Caps.Server[0] = -1 }, problem.ErrNegative, ""},
		"unknown tier":            {func(p *problem.Problem) { p.Thresholds[0].Tier = 2 }, problem.ErrIndex, "problem: tier of threshold 0: 2 of 2: unknown index"},
		"negative weight":         {func(p *problem.Problem) { p.Ratios[0].Weight = -1 }, problem.ErrNegative, ""},
		"unknown metric":          {func(p *problem.Problem) { p.Thresholds[0].Metric = 2 }, problem.ErrIndex, ""},
		"unknown scale":           {func(p *problem.Problem) { p.Affinities[0].Scale = 2 }, problem.ErrIndex, ""},
		"unknown row":             {func(p *problem.Problem) { p.Affinities[0].Of[1] = 1 }, problem.ErrIndex, ""},
		"short row":               {func(p *problem.Problem) { p.Affinities[0].Cost[0] = []int64{1} }, problem.ErrShape, ""},
		"less than nothing free":  {func(p *problem.Problem) { p.Balances[0].Free = []int64{0, -1} }, problem.ErrNegative, ""},
		"unit of 0":               {func(p *problem.Problem) { p.Balances[0].Unit[1] = 0 }, problem.ErrNegative, ""},
		"peak of no level":        {func(p *problem.Problem) { p.Peaks[0].Level = 1 }, problem.ErrIndex, "problem: level of peak 0: 2 of 2: unknown index"},
		"peak without shares":     {func(p *problem.Problem) { p.Peaks[0].Share = nil }, problem.ErrShape, ""},
		"too high a peak":         {func(p *problem.Problem) { p.Peaks[0].Weight = math.MaxInt64 / 5 }, problem.ErrOverflow, ""},
		"failover of no level":    {func(p *problem.Problem) { p.Failovers[0].Level = -1 }, problem.ErrIndex, ""},
		"nobody leads":            {func(p *problem.Problem) { p.Failovers[0].Lead = nil }, problem.ErrShape, "problem: failover 0: 0 replicas and 2 domains, not 2 and 2: wrong length"},
		"less than a fair part":   {func(p *problem.Problem) { p.Failovers[0].Fair[1] = -1 }, problem.ErrNegative, ""},
		"too much to take over":   {func(p *problem.Problem) { p.Group[1], p.Failovers[0].Weight = 0, math.MaxInt64/4 }, problem.ErrOverflow, ""},
		"short limits":            {func(p *problem.Problem) { p.Thresholds[0].Limit = nil }, problem.ErrShape, ""},
		"few crowds":              {func(p *problem.Problem) { p.Movement.Crowd = []int32{0} }, problem.ErrShape, "problem: movement: crowds of 1 groups, not 2: wrong length"},
		"unknown crowd":           {func(p *problem.Problem) { p.Movement.Crowd = []int32{0, 2} }, problem.ErrIndex, ""},
		"parts of nothing":        {func(p *problem.Problem) { p.Thresholds[0].Per = []int64{1, 0} }, problem.ErrShape, ""},
		"short routes":            {func(p *problem.Problem) { p.Movement.Route = p.Movement.Route[1:] }, problem.ErrShape, ""},
		"cost beyond 64 bits":     {func(p *problem.Problem) { p.Thresholds[0].Weight = math.MaxInt64 / 5 }, problem.ErrOverflow, ""},
		"negative cost of moving": {func(p *problem.Problem) { p.Movement.Replica[0] = -1 }, problem.ErrNegative, ""},
		"negative opening":        {func(p *problem.Problem) { p.Opening.Cost[0] = -1 }, problem.ErrNegative, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := whole()
			c.spoil(p)
			err := p.Validate()
			if !errors.Is(err, c.err) || c.says != "" && err.Error() != c.says {
				t.Errorf("%v, expected %v %q", err, c.err, c.says)
			}
		})
	}
}
