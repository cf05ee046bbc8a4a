package tally

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/share"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// Tiers of what an app wants without a policy; those of policies are between.
const (
	Above  = -1 // preferred regions of its spec
	Kept   = 0  // replicas no nearer to each other than they are
	Below  = 17 // replicas farther apart, as far as there is room
	Evenly = 18 // servers near to their fair shares
)

const (
	whole       = 1000      // of a fair share
	thousandths = 1000      // that costs in currency are counted in, of a millionth
	millionths  = 1_000_000 // of a capacity
)

// aim is a goal, with what it is counted by.
type aim struct {
	terms.Goal
	built bool // no policy says it
	unit  Unit

	row      []int64                        // by server: what a replica costs there
	together func(i int, list []spot) int64 // what the replicas of a shard cost by where they are, all together

	metric    int               // position; of a server's load
	other     int               // likewise
	share     []int64           // by server; 0: it takes no part
	slack     int64             // in thousandths of a share, beside half of an average replica
	average   int64             // of a replica
	cost      func(u use) int64 // of one server
	fair      *fair             // of a balance that a policy wants
	takeovers *takeovers
}

// use is what a server carries.
type use struct {
	server   int
	load     load.Vector
	replicas int
}

// collect lists the goals of the policies and those that every app has.
func (t *Tally) collect() {
	classes := []terms.Class{{}}
	if t.in.Terms != nil {
		classes = t.in.Terms.Classes
	}
	balanced := map[string]bool{}
	t.ofShards = make([][]aim, len(classes))
	var said []terms.Goal
	for c := range classes {
		t.ofShards[c] = append(t.ofShards[c], t.preferred()...)
		for _, g := range classes[c].Goals {
			if g.Kind == terms.Failover {
				t.takenOver(c, g)
				continue
			}
			if a, ok := t.ofReplicas(g); ok {
				t.ofShards[c] = append(t.ofShards[c], a)
			}
			if a, ok := t.ofLoads(g); ok && !slices.ContainsFunc(said, func(o terms.Goal) bool { return same(o, g) }) {
				said, t.ofServers = append(said, g), append(t.ofServers, a)
				balanced[g.Metric] = balanced[g.Metric] || g.Kind == terms.Balance && g.Other == ""
			}
		}
		t.ofShards[c] = append(t.ofShards[c], t.apart()...)
		slices.SortStableFunc(t.ofShards[c], byTier)
	}
	for m := range t.metrics.Len() {
		t.ofServers = append(t.ofServers, t.even(m, balanced[t.metrics.Name(m)]))
	}
	slices.SortStableFunc(t.ofServers, byTier)
	for _, a := range t.ofServers {
		if a.takeovers != nil {
			t.pairUp(a.takeovers)
		}
	}
}

// same reports whether two goals say the same of servers, whichever shards they are said for.
func same(a, b terms.Goal) bool {
	return a.Kind == b.Kind && a.Tier == b.Tier && a.Metric == b.Metric && a.Other == b.Other && a.Regional == b.Regional && a.Largest == b.Largest &&
		a.Percent == b.Percent && a.Milli == b.Milli
}

func byTier(a, b aim) int { return cmp.Compare(a.Tier, b.Tier) }

// preferred is what the spec says of regions for primaries.
func (t *Tally) preferred() []aim {
	if len(t.where.Ranks) == 0 {
		return nil
	}
	a := aim{Goal: terms.Goal{Name: "preferred regions", Kind: terms.Preference, Tier: Above, Weight: 1, Primaries: true}, built: true, unit: Places}
	for server := range t.in.Servers {
		a.row = append(a.row, int64(t.where.Rank(server)))
	}
	return []aim{a}
}

// apart is that replicas of a shard are as far apart as there is room.
func (t *Tally) apart() (list []aim) {
	width := t.in.Policy.Spread + 1
	if n := t.in.Policy.Replicas; n > 1 {
		for width = max(width, locality.Host+1); width <= locality.Region; width++ {
			want := min(n, t.where.Open[width])
			g := terms.Goal{Name: fmt.Sprintf("spread over %ss", width), Kind: terms.Apart, Tier: Below, Weight: 1 << (10 * (width - locality.Host))}
			g.Spread = terms.Spread{Over: terms.Over{Width: width}, AtLeast: want}
			list = append(list, aim{Goal: g, built: true, unit: Domains})
		}
	}
	slices.Reverse(list)
	return list
}

// even is that servers have their fair shares of a metric. Of metrics that a policy balances, and of primaries, it is counted for utilisation only.
func (t *Tally) even(m int, otherwise bool) aim {
	a := aim{Goal: terms.Goal{Name: "balance of " + t.metrics.Name(m), Kind: terms.Balance, Tier: Evenly, Weight: 1, Metric: t.metrics.Name(m)}, built: true, unit: Share, metric: m}
	if otherwise || m == t.primaries {
		a.Weight = 0
	}
	group, groups := share.All, 1
	if len(t.where.Ranks) > 0 && (m == t.primaries || t.in.Policy.Replicas <= 1) {
		group, groups = t.where.Rank, len(t.where.Ranks)
	}
	settles := func(i int) bool { return t.in.Servers[i].Accepts || t.in.Servers[i].Leaving }
	a.share, a.slack, a.average = t.shares(m, group, groups, settles), int64(t.in.Policy.TolerancePercent)*whole/200, t.average[m]
	return a
}

// shares are what servers should have of a metric, of all that is on some.
func (t *Tally) shares(m int, group func(server int) int, groups int, of func(server int) bool) []int64 {
	capacity, totals := make([]int64, len(t.in.Servers)), make([]int64, groups)
	for i := range capacity {
		capacity[i] = t.capacity[i][m]
		if of(i) {
			totals[group(i)] = load.Plus(totals[group(i)], t.settled[i][m])
		}
	}
	return share.Divide(totals, share.Weights(capacity, func(i int) bool { return t.in.Servers[i].Accepts }), group)
}

// ofReplicas is a goal that counts where replicas are, each by itself or those of a shard together; false: it counts otherwise.
func (t *Tally) ofReplicas(g terms.Goal) (aim, bool) {
	a := aim{Goal: g, unit: Replicas}
	switch {
	case g.Kind == terms.Latency && !g.Primaries:
		a.unit, a.together = Micros, t.nearest(g)
		return a, true
	case g.Kind == terms.Cost:
		if a.unit = Price; g.Traffic == nil || t.position(g.Metric) < 0 {
			return a, false
		}
		a.together = t.traffic(g)
		return a, true
	}
	region := func(i int) string { return t.in.Servers[i].Locality.Region }
	for i := range t.in.Servers {
		switch g.Kind {
		case terms.Preference:
			a.row, a.unit = append(a.row, g.InRegion(region(i), t.in.Apart)), Places
		case terms.Latency:
			a.row, a.unit = append(a.row, g.InRegion(region(i), t.in.Apart)), Micros
		case terms.Drain:
			leaves := int64(0)
			if t.in.Servers[i].Leaving {
				leaves = 1
			}
			a.row = append(a.row, leaves)
		case terms.Apart:
			a.unit = Domains
			if g.Spread.AtMost > 0 {
				a.unit = Replicas
			}
		case terms.Movement:
			a.unit = Moves
			if m := t.position(g.Metric); m >= 0 {
				a.unit = Unit(g.Metric)
			}
		case terms.Utilization, terms.Balance, terms.Cost, terms.Failover:
			return a, false
		}
	}
	return a, true
}

func (t *Tally) position(metric string) int {
	for m := range t.metrics.Len() {
		if t.metrics.Name(m) == metric {
			return m
		}
	}
	return -1
}

// ofLoads is a goal that counts what servers carry; false: there is nothing to count, or placement does not plan by it.
func (t *Tally) ofLoads(g terms.Goal) (aim, bool) {
	a := aim{Goal: g, metric: t.position(g.Metric), other: t.position(g.Other), unit: Unit(g.Metric)}
	switch g.Kind {
	case terms.Cost:
		a.unit = Price
		a.cost = func(u use) int64 {
			if u.replicas == 0 {
				return 0
			}
			return load.MulDiv(g.Price[u.server], thousandths, 1)
		}
		return a, g.Price != nil
	case terms.Utilization:
		a.unit = Millionths
		a.cost = func(u use) int64 { return t.excess(a.metric, u, int64(g.Percent)) }
		return a, a.metric >= 0
	case terms.Balance:
		if g.Other != "" {
			a.unit = Unit(g.Other)
			a.cost = func(u use) int64 { return t.lacks(&a, u) }
			return a, a.metric >= 0 && a.other >= 0
		}
		if a.metric < 0 {
			return a, false
		}
		a.unit, a.fair = Share, t.fairly(&g, a.metric)
		return a, true
	case terms.Preference, terms.Apart, terms.Drain, terms.Latency, terms.Failover, terms.Movement:
	}
	return a, false
}

// excess is what a server has above a part of its capacity, in begun millionths of that, at most a thousand times as much.
func (t *Tally) excess(m int, u use, percent int64) int64 {
	capacity, scale := t.capacity[u.server][m], t.scale(m)
	if capacity == load.Unlimited {
		return 0
	}
	per := max(1, load.MulDiv(capacity, scale, 1))
	over := load.MulDiv(u.load[m], scale, 1) - load.MulDiv(per, percent, 100)
	parts := load.MulDiv(over, millionths, per)
	if load.MulDiv(parts, per, millionths) < over {
		parts++
	}
	return min(parts, 1000*millionths)
}

// lacks is how much of another metric a server has too little free, for what is free of the metric.
func (t *Tally) lacks(a *aim, u use) int64 {
	free := func(m int) int64 {
		if t.capacity[u.server][m] == load.Unlimited {
			return 0
		}
		return max(0, t.capacity[u.server][m]-u.load[m])
	}
	if t.capacity[u.server][a.other] == load.Unlimited {
		return 0
	}
	return max(0, load.MulDiv(free(a.metric), a.Milli, 1000)-free(a.other))
}

// relative is what a server has of its fair share, in thousandths.
func (a *aim) relative(l load.Vector, server int) int64 {
	if a.share[server] == 0 {
		return 0
	}
	return load.MulDiv(l[a.metric], whole, a.share[server])
}

// beyond is by how much a server is off its fair share, in thousandths, more than is tolerated.
func (a *aim) beyond(l load.Vector, server int) int64 {
	if a.share[server] == 0 {
		return 0
	}
	off := a.relative(l, server) - whole
	return max(0, max(off, -off)-a.slack-load.MulDiv(a.average, whole, 2*a.share[server]))
}
