package ejection_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/ejection"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// cells is servers with room for one each, and one replica on each of the first ones; may[r] says which servers that may be on.
func cells(servers int, may ...uint64) *problem.Problem {
	n := len(may)
	p := &problem.Problem{Metrics: 1, Servers: servers, Replicas: n, Groups: n, Tiers: 1, During: []bool{false}, Capacity: slices.Repeat([]int64{1}, servers),
		Load: slices.Repeat([]int64{1}, n), Exclusive: make([]bool, n), Unplaced: problem.Goal{Weight: 1}}
	for r, bits := range may {
		p.Group, p.Start, p.Class, p.Eligible = append(p.Group, int32(r)), append(p.Start, int32(r)), append(p.Class, int32(r)), append(p.Eligible, []uint64{bits})
	}
	return p
}

func search(t interface{ Fatal(args ...any) }, p *problem.Problem) *ejection.Search {
	m, err := layout.New(p)
	if err != nil {
		t.Fatal(err)
	}
	return &ejection.Search{State: assignment.New(m), Steps: 10_000}
}

func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		p       *problem.Problem
		ejected []int32
		places  []int32
	}{
		"a free place needs nobody":          {cells(2, 2), nil, []int32{1}},
		"one makes room":                     {cells(3, 2, 6), []int32{1}, []int32{1, 2}},
		"two change places":                  {cells(2, 2, 3), []int32{1}, []int32{1, 0}},
		"a free place before a circle":       {cells(3, 2, 7), []int32{1}, []int32{1, 2}},
		"two in a row":                       {cells(4, 2, 6, 12), []int32{1, 2}, []int32{1, 2, 3}},
		"three in a circle":                  {cells(3, 2, 6, 5), []int32{1, 2}, []int32{1, 2, 0}},
		"not three in a row":                 {cells(5, 2, 6, 12, 24), nil, nil},
		"who makes room has to have a place": {cells(2, 2, 2), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := search(t, c.p)
			ejected, found := s.Settle(0, s.M.Tiers)
			if found != (c.places != nil) || !slices.Equal(ejected, c.ejected) {
				t.Errorf("%v, %v", ejected, found)
			}
			if want := c.places; found && !slices.Equal(s.Place, want) || !found && !slices.Equal(s.Place, c.p.Start) {
				t.Errorf("places %v, expected %v", s.Place, want)
			}
		})
	}
}

// TestSettleMendsOrLeaves: what is found costs less than before; else nothing has changed, nor where steps run out.
func TestSettleMendsOrLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := rapid.IntRange(1, 5).Draw(t, "servers")
		may := rapid.SliceOfN(rapid.Uint64Range(0, 31), 1, servers).Draw(t, "may")
		s := search(t, cells(servers, may...))
		s.Steps = int64(rapid.IntRange(0, 60).Draw(t, "steps"))
		for r := range int32(len(may)) {
			before, cost := slices.Clone(s.Place), s.Costs
			if _, found := s.Settle(r, s.M.Tiers); found && !s.Costs.Less(&cost, s.M.Tiers) {
				t.Fatalf("costs %v, before %v", s.Costs, cost)
			} else if !found && (!slices.Equal(before, s.Place) || cost != s.Costs) {
				t.Fatalf("at %v for nothing, before %v", s.Place, before)
			}
		}
	})
}
