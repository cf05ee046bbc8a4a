package goals

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
)

// What a replica costs in a region may depend on where the others of its shard are. It is stated as an affinity beside them as they are: a plan moves
// one replica of a shard at most, so what a move changes is exact. Only replicas of one shard that are placed together do not know of each other; the
// next plan does.

// beside gives each replica of a class its row of an affinity, made of what the row depends on, which make appends to a key.
func (s *stated) beside(class int, a *problem.Affinity, key func(key []byte, r *Replica, others []Replica) []byte, row func(r *Replica, others []Replica) []int64) {
	known, name := map[string]int32{}, []byte(nil)
	for list := s.ofClass[class]; len(list) > 0; {
		n := 1
		for n < len(list) && s.Task.Replicas[list[n]].Group == s.Task.Replicas[list[0]].Group {
			n++
		}
		group := s.Task.Replicas[list[0] : list[0]+int32(n)] // group by group
		for k := range group {
			others := slices.DeleteFunc(slices.Concat(group[:k], group[k+1:]), func(o Replica) bool { return o.Free })
			name = key(name[:0], &group[k], others)
			at, ok := known[string(name)]
			if !ok {
				at = int32(len(a.Cost))
				known[string(name)], a.Cost = at, append(a.Cost, row(&group[k], others))
			}
			a.Of[list[k]] = at
		}
		list = list[n:]
	}
}

// region is that of a server.
func (s *stated) region(server int32) int32 { return s.Problem.Domains[regions][server] }

// regionsOf appends the regions of replicas to a key.
func (s *stated) regionsOf(key []byte, list []Replica) []byte {
	var names []int32
	for i := range list {
		names = append(names, s.region(list[i].At))
	}
	slices.Sort(names)
	for _, d := range names {
		key = append(key, byte(d>>24), byte(d>>16), byte(d>>8), byte(d))
	}
	return key
}

// near counts microseconds to clients, by their share: from the primary, or from the nearest replica.
func (s *stated) near(class int, g *terms.Goal, goal problem.Goal) {
	names, key := s.regionNames(), affinityOf{kind: g.Kind, primaries: g.Primaries, tier: goal.Tier, scale: -1}
	trips, total := map[string][]int64{}, int64(0)
	for client, share := range g.Clients {
		for _, name := range names {
			trips[client] = append(trips[client], s.trip(client, name))
		}
		total += share
	}
	mean := func(trip func(trips []int64) int64) (sum int64) {
		for client, share := range g.Clients {
			sum += share * trip(trips[client])
		}
		return sum / max(total, 1)
	}
	row := func(others []Replica) (row []int64) {
		for region := range names {
			row = append(row, mean(func(trips []int64) int64 {
				least := trips[region]
				for i := range others {
					least = min(least, trips[s.region(others[i].At)])
				}
				return least
			}))
		}
		return row
	}
	if g.Primaries {
		s.places(class, key, goal.Weight, row(nil), func(r *Replica) bool { return r.Primary })
		return
	}
	weight := bounded(goal.Weight, mean(slices.Max[[]int64])*int64(len(s.Task.Replicas)))
	s.beside(class, s.affinity(key), func(key []byte, _ *Replica, others []Replica) []byte { return s.regionsOf(key, others) }, func(_ *Replica, others []Replica) []int64 {
		return times(row(others), weight)
	})
}

func times(row []int64, by int64) []int64 {
	for i := range row {
		row[i] *= by
	}
	return row
}

// trip is the round trip between two regions in microseconds. A pair that nobody measured is as far apart as any that was.
func (s *stated) trip(client, region string) int64 {
	if e, known := s.Latency.Between(client, region); known {
		return e.Median.Microseconds()
	}
	if client == region {
		return 0
	}
	far := time.Duration(0)
	for _, p := range s.Latency.Pairs() {
		far = max(far, p.Median)
	}
	return far.Microseconds()
}

// megabytes is how many a price of traffic is for.
const megabytes = 1000

// cost counts what servers with a replica cost, and the traffic of replicas with clients, or with their primary. Both are in parts of the currency that
// are as small as prices of traffic need, if there is room for that in 64 bits.
func (s *stated) cost(class int, g *terms.Goal, goal problem.Goal) {
	parts, m := int64(1), slices.Index(s.Task.Metrics, g.Metric)
	worst := int64(0)
	for i := range s.Task.Servers {
		if g.Price != nil {
			worst = load.Plus(worst, g.Price[s.Task.Servers[i].Position])
		}
	}
	if traffic, members := int64(0), make([]int64, s.Task.Groups); g.Traffic != nil && m >= 0 {
		parts = megabytes * s.scale[m]
		most := slices.MaxFunc(g.Traffic, func(a, b terms.Route) int { return cmp.Compare(a.Cost, b.Cost) }).Cost
		for i := range s.Task.Replicas {
			traffic = load.Plus(traffic, s.Task.Replicas[i].Load[m])
			members[s.Task.Replicas[i].Group]++
		}
		worst = load.Plus(worst, load.MulDiv(load.MulDiv(traffic, slices.Max(members), 1), most, megabytes)) // each with all others of its shard
	}
	unit := bounded(load.MulDiv(goal.Weight, parts, 1), worst) // for a millionth of the currency
	if g.Price != nil {
		s.price(g, problem.Goal{Weight: unit, Tier: goal.Tier})
	}
	if g.Traffic != nil && m >= 0 {
		s.traffic(class, g, s.affinity(affinityOf{kind: g.Kind, tier: goal.Tier, scale: m}), func(price int64) int64 { return load.MulDiv(price, unit, parts) })
	}
}

// price counts what servers with a replica cost.
func (s *stated) price(g *terms.Goal, goal problem.Goal) {
	o := problem.Opening{Goal: goal}
	for i := range s.Task.Servers {
		o.Cost = append(o.Cost, g.Price[s.Task.Servers[i].Position])
	}
	s.Problem.Opening = o
}

// traffic counts what goes from replicas to clients, by their share, or else from primaries to the other replicas of their shard. It makes prices for 10⁹
// bytes those of a unit of the metric.
func (s *stated) traffic(class int, g *terms.Goal, a *problem.Affinity, priced func(price int64) int64) {
	names := s.regionNames()
	price := map[[2]string]int64{}
	for _, r := range g.Traffic {
		price[[2]string{r.From, r.To}] = r.Cost
	}
	rowOf := func(cost func(region string) int64) (row []int64) {
		for _, name := range names {
			row = append(row, priced(cost(name)))
		}
		return row
	}
	if g.Clients != nil {
		total := int64(0)
		for _, share := range g.Clients {
			total += share
		}
		a.Cost = append(a.Cost, rowOf(func(region string) (sum int64) {
			for client, share := range g.Clients {
				sum = load.Plus(sum, load.MulDiv(price[[2]string{region, client}], share, total))
			}
			return sum
		}))
		for _, i := range s.ofClass[class] {
			a.Of[i] = int32(len(a.Cost) - 1)
		}
		return
	}
	with := func(r *Replica, others []Replica) []Replica {
		return slices.DeleteFunc(slices.Clone(others), func(o Replica) bool { return o.Primary == r.Primary })
	}
	s.beside(class, a, func(key []byte, r *Replica, others []Replica) []byte {
		if r.Primary {
			key = append(key, 'p')
		}
		return s.regionsOf(key, with(r, others))
	}, func(r *Replica, others []Replica) []int64 {
		others = with(r, others)
		return rowOf(func(region string) (sum int64) {
			for i := range others {
				from, to := names[s.region(others[i].At)], region
				if r.Primary {
					from, to = to, from
				}
				sum = load.Plus(sum, price[[2]string{from, to}])
			}
			return sum
		})
	})
}
