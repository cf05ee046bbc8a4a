package layout

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// maxPairs bounds the pairs of replicas that one goal of fail-over counts, 24 bytes each.
const maxPairs = 1 << 25

func (m *Model) layFailovers() error {
	for _, g := range byTier(m.Problem.Failovers, func(g problem.Failover) problem.Goal { return g.Goal }) {
		f := Failover{Level: int32(g.Level), Weight: g.Weight, Lead: g.Lead, Fair: g.Fair}
		for r, leads := range g.Lead {
			if leads {
				f.Pairs += len(m.MembersOf(m.Group[r])) - 1
			}
		}
		if f.Pairs > maxPairs {
			return fmt.Errorf("layout: pairs of replicas for fail-over: more than %d: %w", maxPairs, problem.ErrLimit)
		}
		m.Failovers.add(g.Tier, f)
	}
	m.Failovers.close()
	return nil
}

// TooMany is what it costs that so many replicas that lead in domain a have another one of their group in the same other domain.
func (f *Failover) TooMany(a, count int32) int64 {
	u := min(int64(count)-f.Fair[a], problem.MaxUnits)
	if u <= 0 {
		return 0
	}
	return f.Weight * u * u
}
