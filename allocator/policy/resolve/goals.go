package resolve

import (
	"math"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func (b *builder) goal(item policy.Placed[*pb.Goal]) terms.Goal {
	if g, ok := b.goals[item.From]; ok {
		return g
	}
	m := item.Value
	g := terms.Goal{Name: statement.SubjectOf(m).What, Tier: int(m.GetTier()), Weight: int64(m.GetWeight())}
	switch k := m.GetKind().(type) {
	case *pb.Goal_RegionPreference:
		g.Kind, g.Regions, g.Primaries = terms.Preference, k.RegionPreference.GetRegions(), b.primaries(k.RegionPreference.GetReplicas())
	case *pb.Goal_Spread:
		g.Kind, g.Spread = terms.Apart, b.spread(g.Name, k.Spread)
	case *pb.Goal_Drain:
		g.Kind = terms.Drain
	case *pb.Goal_Utilization:
		g.Kind, g.Metric, g.Percent = terms.Utilization, k.Utilization.GetMetric(), int(k.Utilization.GetPercent())
	case *pb.Goal_Balance:
		balance(&g, k.Balance)
	case *pb.Goal_Latency:
		g.Kind, g.Clients, g.Primaries = terms.Latency, shares(k.Latency.GetClients()), b.primaries(k.Latency.GetReplicas())
	case *pb.Goal_Cost:
		b.cost(&g, k.Cost)
	case *pb.Goal_ParallelFailover:
		g.Kind, g.Spread = terms.Failover, terms.Spread{Name: g.Name, Over: b.over(statement.OverOf(k.ParallelFailover))}
	case *pb.Goal_Movement:
		g.Kind, g.Metric, g.MostMoved = terms.Movement, k.Movement.GetMetric(), k.Movement.GetMostMovedGroup()
		for _, r := range k.Movement.GetRegions() {
			g.Moves = append(g.Moves, terms.Route{From: r.GetFrom(), To: r.GetTo(), Cost: int64(r.GetWeight())})
		}
	}
	b.goals[item.From] = g
	return g
}

// primaries reports whether a goal is about primaries only.
func (b *builder) primaries(r pb.Replicas) bool {
	return r == pb.Replicas_REPLICAS_PRIMARIES || r == pb.Replicas_REPLICAS_UNSPECIFIED && b.in.Policy.Primary
}

func balance(g *terms.Goal, m *pb.BalanceGoal) {
	g.Kind, g.Metric, g.Percent = terms.Balance, m.GetMetric(), int(m.GetTolerancePercent())
	g.Regional = m.GetScope() == pb.BalanceScope_BALANCE_SCOPE_REGION
	switch m.GetKind() {
	case pb.BalanceKind_BALANCE_KIND_UNSPECIFIED, pb.BalanceKind_BALANCE_KIND_LARGEST:
		g.Largest = true
	case pb.BalanceKind_BALANCE_KIND_SUM_OF_SQUARES:
	case pb.BalanceKind_BALANCE_KIND_RATIO:
		g.Other, g.Milli = m.GetOtherMetric(), whole(m.GetTargetMilli())
	}
}

func (b *builder) cost(g *terms.Goal, m *pb.CostGoal) {
	g.Kind, g.Metric, g.Clients = terms.Cost, m.GetTrafficMetric(), shares(m.GetClients())
	if prices := m.GetServerMicrosPerHour(); len(prices) > 0 {
		g.Price = make([]int64, len(b.in.Servers))
		for i := range b.in.Servers {
			s := &b.in.Servers[i]
			by := s.Locality.Region
			if m.GetPriceLabel() != "" {
				by = s.Labels[m.GetPriceLabel()]
			}
			g.Price[i] = whole(prices[by])
		}
	}
	for _, t := range m.GetTraffic() {
		g.Traffic = append(g.Traffic, terms.Route{From: t.GetFrom(), To: t.GetTo(), Cost: whole(t.GetMicrosPerGb())})
	}
}

func shares(m map[string]uint32) map[string]int64 {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]int64, len(m))
	for region, share := range m {
		out[region] = int64(share)
	}
	return out
}

func whole(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
