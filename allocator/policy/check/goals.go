package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func (c *checker) goals(in string, list []*pb.Goal) {
	c.count(under(in, "goals"), len(list), maxStatements)
	for i, g := range list {
		if c.Full() {
			return
		}
		at := under(in, fmt.Sprintf("goals[%d]", i))
		c.number(at+".tier", uint64(g.GetTier()), 1, maxTier)
		if g.Weight != nil {
			c.number(at+".weight", uint64(g.GetWeight()), 1, maxWeight)
		}
		c.kind(at, g)
	}
}

func (c *checker) kind(at string, g *pb.Goal) {
	switch k := g.GetKind().(type) {
	case *pb.Goal_RegionPreference:
		c.preference(at+".region_preference.regions", k.RegionPreference.GetRegions())
	case *pb.Goal_Spread:
		c.spread(at+".spread", k.Spread)
	case *pb.Goal_Drain:
	case *pb.Goal_Utilization:
		c.metric(at+".utilization.metric", k.Utilization.GetMetric())
		c.number(at+".utilization.percent", uint64(k.Utilization.GetPercent()), 1, maxPercent)
	case *pb.Goal_Balance:
		c.balance(at+".balance", k.Balance)
	case *pb.Goal_Latency:
		if len(k.Latency.GetClients()) == 0 {
			c.Add(at+".latency.clients", "expected at least one region with its share")
		}
		c.shares(at+".latency.clients", k.Latency.GetClients())
	case *pb.Goal_Cost:
		c.cost(at+".cost", k.Cost)
	case *pb.Goal_ParallelFailover:
		if k.ParallelFailover.GetOver() != nil {
			c.over(at+".parallel_failover", statement.OverOf(k.ParallelFailover))
		}
	case *pb.Goal_Movement:
		c.movement(at+".movement", k.Movement)
	default:
		c.Add(at, "expected one of region_preference, spread, drain, utilization, balance, latency, cost, parallel_failover and movement")
	}
}

func (c *checker) preference(at string, regions []string) {
	if len(regions) == 0 || len(regions) > maxRegions {
		c.Add(at, "expected 1 to %d regions, not %d", maxRegions, len(regions))
		return
	}
	for i, name := range regions {
		path := fmt.Sprintf("%s[%d]", at, i)
		c.region(path, name)
		if before := slices.Index(regions[:i], name); before >= 0 {
			c.Add(path, "region %s is named already: %s", name, c.Where.Origin(fmt.Sprintf("%s[%d]", at, before)))
		}
	}
}

func (c *checker) balance(at string, b *pb.BalanceGoal) {
	c.metric(at+".metric", b.GetMetric())
	if b.TolerancePercent != nil {
		c.number(at+".tolerance_percent", uint64(b.GetTolerancePercent()), 0, maxTolerance)
	}
	if b.GetKind() != pb.BalanceKind_BALANCE_KIND_RATIO {
		if b.GetOtherMetric() != "" {
			c.Add(at+".other_metric", "expected none: it is for kind ratio")
		}
		if b.GetTargetMilli() != 0 {
			c.Add(at+".target_milli", "expected none: it is for kind ratio")
		}
		return
	}
	c.metric(at+".other_metric", b.GetOtherMetric())
	if b.GetOtherMetric() == b.GetMetric() {
		c.Add(at+".other_metric", "expected another metric than %s", b.GetMetric())
	}
	c.number(at+".target_milli", b.GetTargetMilli(), 1, maxRatio)
	if b.TolerancePercent != nil {
		c.Add(at+".tolerance_percent", "expected none of kind ratio")
	}
}

// shares checks shares of load by region.
func (c *checker) shares(at string, shares map[string]uint32) {
	c.count(at, len(shares), maxPairs)
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		if c.Full() {
			return
		}
		c.region(under(at, name), name)
		c.number(under(at, name), uint64(shares[name]), 1, maxWeight)
	}
}

func (c *checker) cost(at string, g *pb.CostGoal) {
	if len(g.GetServerMicrosPerHour()) == 0 && len(g.GetTraffic()) == 0 {
		c.Add(at, "expected server_micros_per_hour or traffic")
	}
	prices := at + ".server_micros_per_hour"
	c.count(prices, len(g.GetServerMicrosPerHour()), maxPairs)
	for _, name := range slices.Sorted(maps.Keys(g.GetServerMicrosPerHour())) {
		if c.Full() {
			return
		}
		if g.GetPriceLabel() == "" {
			c.region(under(prices, name), name)
		}
		c.number(under(prices, name), g.GetServerMicrosPerHour()[name], 0, maxPrice)
	}
	if g.GetPriceLabel() != "" {
		c.over(at+".price_label", statement.Over{Label: g.GetPriceLabel()})
		if len(g.GetServerMicrosPerHour()) == 0 {
			c.Add(at+".price_label", "expected none without server_micros_per_hour")
		}
	}
	switch {
	case len(g.GetTraffic()) > 0:
		c.metric(at+".traffic_metric", g.GetTrafficMetric())
	case g.GetTrafficMetric() != "":
		c.Add(at+".traffic_metric", "expected none without traffic")
	case len(g.GetClients()) > 0:
		c.Add(at+".clients", "expected none without traffic")
	}
	c.shares(at+".clients", g.GetClients())
	c.pairs(at+".traffic", len(g.GetTraffic()), func(i int) (from, to string) { return g.GetTraffic()[i].GetFrom(), g.GetTraffic()[i].GetTo() })
	for i, t := range g.GetTraffic() {
		c.number(fmt.Sprintf("%s.traffic[%d].micros_per_gb", at, i), t.GetMicrosPerGb(), 0, maxPrice)
		if t.GetFrom() == t.GetTo() {
			c.Add(fmt.Sprintf("%s.traffic[%d].to", at, i), "expected another region than %s", t.GetFrom())
		}
	}
}

// pairs checks pairs of regions, each of which may be there once.
func (c *checker) pairs(at string, n int, pair func(i int) (from, to string)) {
	c.count(at, n, maxPairs)
	seen := map[[2]string]int{}
	for i := range n {
		if c.Full() {
			return
		}
		from, to := pair(i)
		path := fmt.Sprintf("%s[%d]", at, i)
		c.region(path+".from", from)
		c.region(path+".to", to)
		key := [2]string{from, to}
		if before, twice := seen[key]; twice {
			c.Add(path, "%s is there already: %s", strings.Join(key[:], " to "), c.Where.Origin(fmt.Sprintf("%s[%d]", at, before)))
		}
		seen[key] = i
	}
}

func (c *checker) movement(at string, g *pb.MovementGoal) {
	if g.GetMetric() != "" {
		c.metric(at+".metric", g.GetMetric())
	}
	if g.GetMostMovedGroup() && (g.GetMetric() != "" || len(g.GetRegions()) > 0) {
		c.Add(at+".most_moved_group", "expected neither metric nor regions with it")
	}
	c.pairs(at+".regions", len(g.GetRegions()), func(i int) (from, to string) { return g.GetRegions()[i].GetFrom(), g.GetRegions()[i].GetTo() })
	for i, r := range g.GetRegions() {
		c.number(fmt.Sprintf("%s.regions[%d].weight", at, i), uint64(r.GetWeight()), 1, maxWeight)
	}
}
