package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// Levels of fault domains, metrics and tiers of zippy and failover.
const (
	regionLevel = 0

	storage, cpu, count = 0, 1, 2

	preferenceTier, spreadTier, thresholdTier, balanceTier, movementTier = 1, 2, 3, 4, 5
)

// zippy is stated in the goals of the first solver's successor, in their order: the unplaced, preferred regions, spread over regions, 90 % as threshold of
// each metric, balance, least movement. Hard are capacity, also during moves, and that replicas of a shard are on different servers.
func zippy(o options) (*result, error) {
	if o.shards == 0 {
		o.shards = 75_000
	}
	if o.servers == 0 {
		o.servers = max(10, o.shards/75)
	}
	w := newWorld(o.servers, 5, o.shards, o.replicas, o.seed)
	w.scatter(o.replicas > 1)
	w.overload(o.servers / 8)
	if o.replicas > 1 {
		w.crowd(o.shards / 100)
	}
	if o.greedy {
		return w.greedy(), nil
	}
	r, _, err := solve(w.p, o, func(broken int64, cost [problem.MaxTiers]int64) bool {
		return broken == 0 && cost[spreadTier] == 0 && cost[thresholdTier] == 0
	})
	return r, err
}

// world is a problem that is being drawn.
type world struct {
	p       *problem.Problem
	random  *rand.Rand
	use     []int64
	regions int
	of      [][]int32 // [regions]: its servers
}

// newWorld has servers in regions, with storage within 20 % of each other, and shards with loads within a factor of 20; together they use two thirds.
func newWorld(servers, regions, shards, replicas int, seed uint64) *world {
	random := rand.New(rand.NewPCG(seed, 0))
	n := shards * replicas
	p := &problem.Problem{Metrics: 3, Servers: servers, Replicas: n, Groups: shards, Tiers: 6, During: []bool{true, true, true},
		Domains: [][]int32{make([]int32, servers)}, Load: make([]int64, 0, 3*n), Group: make([]int32, n), Start: make([]int32, n), Exclusive: slices.Repeat([]bool{true}, shards)}
	total := [3]int64{}
	for g := range shards {
		load := [3]int64{int64(100 * math.Pow(20, random.Float64())), int64(100 * math.Pow(20, random.Float64())), 1}
		for k := range replicas {
			p.Load = append(p.Load, load[:]...)
			p.Group[g*replicas+k] = int32(g)
			for m, l := range load {
				total[m] += l
			}
		}
	}
	w := &world{p: p, random: random, regions: regions, of: make([][]int32, regions), use: make([]int64, servers*3)}
	for t := range servers {
		p.Domains[regionLevel][t] = int32(t % regions)
		w.of[t%regions] = append(w.of[t%regions], int32(t))
		for m := range 3 {
			room := total[m] * 3 / 2 / int64(servers)
			if m == storage {
				room = room*9/10 + random.Int64N(room/5+1)
			}
			p.Capacity = append(p.Capacity, room)
		}
	}
	w.goals(replicas)
	return w
}

func (w *world) goals(replicas int) {
	p := w.p
	p.Unplaced = problem.Goal{Weight: 1}
	preferred := problem.Affinity{Of: make([]int32, p.Replicas), Scale: -1, Goal: problem.Goal{Weight: 1, Tier: preferenceTier}}
	for region := range w.regions + 1 { // the last row prefers nothing
		row := make([]int64, w.regions)
		for d := range row {
			if region < w.regions && d != region {
				row[d] = 1
			}
		}
		preferred.Cost = append(preferred.Cost, row)
	}
	for r := range p.Replicas {
		if preferred.Of[r] = int32(w.regions); r%replicas == 0 {
			preferred.Of[r] = p.Group[r] % int32(w.regions)
		}
	}
	p.Affinities = []problem.Affinity{preferred}
	for g := range p.Groups {
		if replicas > 1 {
			p.Spreads = append(p.Spreads, problem.Spread{Group: g, Level: regionLevel, Want: min(replicas, w.regions), Goal: problem.Goal{Weight: 1, Tier: spreadTier}})
		}
	}
	for m := range 3 {
		limit, b := problem.Threshold{Metric: m, Goal: problem.Goal{Weight: 1, Tier: thresholdTier}}, problem.Balance{Metric: m, Goal: problem.Goal{Weight: 1, Tier: balanceTier}}
		for t := range p.Servers {
			room := p.Capacity[t*3+m]
			limit.Limit = append(limit.Limit, room*9/10)
			b.Share, b.Slack, b.Unit = append(b.Share, room*2/3), append(b.Slack, room/10), append(b.Unit, max(1, room/1000))
		}
		p.Thresholds, p.Balances = append(p.Thresholds, limit), append(p.Balances, b)
	}
	p.Movement = problem.Movement{Replica: slices.Repeat([]int64{1}, p.Replicas), ReplicaWeight: 1, Tier: movementTier}
}

// put puts a replica on a server.
func (w *world) put(r int, t int32) {
	w.p.Start[r] = t
	for m := range 3 {
		w.use[int(t)*3+m] += w.p.Load[r*3+m]
	}
}

func (w *world) take(r int) {
	for m := range 3 {
		w.use[int(w.p.Start[r])*3+m] -= w.p.Load[r*3+m]
	}
}

// full is the utilisation of a server's fullest metric in thousandths, with one more replica.
func (w *world) full(t int32, r int) (most int64) {
	for m := range 3 {
		l := w.use[int(t)*3+m]
		if r >= 0 {
			l += w.p.Load[r*3+m]
		}
		most = max(most, l*1000/w.p.Capacity[int(t)*3+m])
	}
	return most
}

// scatter puts each replica on the emptiest of four servers of a region: the preferred one first, then the next ones.
func (w *world) scatter(apart bool) {
	replicas := w.p.Replicas / w.p.Groups
	for r := range w.p.Replicas {
		region := (int(w.p.Group[r]) + r%replicas) % w.regions
		if !apart {
			region = int(w.p.Group[r]) % w.regions
		}
		best := int32(-1)
		for range 4 {
			if t := w.of[region][w.random.IntN(len(w.of[region]))]; best < 0 || w.full(t, -1) < w.full(best, -1) {
				best = t
			}
		}
		w.put(r, best)
	}
}

// overload brings servers over their threshold, and not over capacity, with replicas of others in their region.
func (w *world) overload(servers int) {
	order := w.random.Perm(w.p.Replicas)
	for t := range int32(servers) {
		for tries := 0; w.full(t, -1) <= 920 && tries < 100_000; tries++ {
			r := order[0]
			order = append(order[1:], r)
			from := w.p.Start[r]
			if int(from) >= servers && w.p.Domains[regionLevel][from] == w.p.Domains[regionLevel][t] && w.full(t, r) <= 1000 && !w.near(r, t) {
				w.take(r)
				w.put(r, t)
			}
		}
	}
}

// near reports whether another replica of the shard is on a server.
func (w *world) near(r int, t int32) bool {
	replicas := w.p.Replicas / w.p.Groups
	first := int(w.p.Group[r]) * replicas
	return slices.Contains(w.p.Start[first:first+replicas], t)
}

// crowd puts the last replica of shards into the region of their first.
func (w *world) crowd(shards int) {
	replicas := w.p.Replicas / w.p.Groups
	for _, g := range w.random.Perm(w.p.Groups)[:shards] {
		r := g*replicas + replicas - 1
		region := w.p.Domains[regionLevel][w.p.Start[g*replicas]]
		for range 1000 {
			if t := w.of[region][w.random.IntN(len(w.of[region]))]; w.full(t, r) <= 900 && !w.near(r, t) {
				w.take(r)
				w.put(r, t)
				break
			}
		}
	}
}

// greedy mends spread, then takes the largest replica from the hottest server to the coolest one that takes it, until nothing is left to do.
func (w *world) greedy() *result {
	p := w.p
	begin := time.Now()
	out := &result{Servers: p.Servers, Replicas: p.Replicas, Before: violations(p, p.Start)}
	start := slices.Clone(p.Start)
	for _, s := range p.Spreads {
		w.greedyApart(s)
	}
	on := make([][]int, p.Servers)
	for r, t := range p.Start {
		on[t] = append(on[t], r)
	}
	stuck := make([]bool, p.Servers)
	for {
		hot := int32(-1)
		for t := range int32(p.Servers) {
			if !stuck[t] && w.full(t, -1) > 900 && (hot < 0 || w.full(t, -1) > w.full(hot, -1)) {
				hot = t
			}
		}
		if hot < 0 {
			break
		}
		slices.SortFunc(on[hot], func(a, b int) int { return int(p.Load[b*3]+p.Load[b*3+1]) - int(p.Load[a*3]+p.Load[a*3+1]) })
		moved := false
		for i, r := range on[hot] {
			if to := w.coolest(r, int(p.Domains[regionLevel][hot])); to >= 0 {
				w.take(r)
				w.put(r, to)
				on[hot], on[to], moved = slices.Delete(on[hot], i, i+1), append(on[to], r), true
				break
			}
		}
		stuck[hot] = !moved
	}
	out.Seconds = time.Since(begin).Seconds()
	out.Violations = violations(p, p.Start)
	for r := range start {
		if start[r] != p.Start[r] {
			out.Moves++
		}
	}
	return out
}

func (w *world) greedyApart(s problem.Spread) {
	replicas := w.p.Replicas / w.p.Groups
	first := s.Group * replicas
	seen := map[int32]bool{}
	for r := first; r < first+replicas; r++ {
		if d := w.p.Domains[regionLevel][w.p.Start[r]]; !seen[d] {
			seen[d] = true
			continue
		}
		for region := range int32(w.regions) {
			if seen[region] {
				continue
			}
			if to := w.coolest(r, int(region)); to >= 0 {
				w.take(r)
				w.put(r, to)
				seen[region] = true
				break
			}
		}
	}
}

// coolest is the server of a region that is least full with a replica, below the threshold; −1: none.
func (w *world) coolest(r, region int) int32 {
	best, least := int32(-1), int64(900)
	for _, t := range w.of[region] {
		if f := w.full(t, r); f < least && !w.near(r, t) {
			best, least = t, f
		}
	}
	return best
}
