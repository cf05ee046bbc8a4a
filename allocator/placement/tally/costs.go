package tally

import (
	"cmp"
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Cost is what a goal costs, or would cost more.
type Cost struct {
	Tier   int // of a policy, or Above, Kept, Below, Evenly
	Goal   string
	Unit   Unit
	Amount int64 // negative: less
	Weight int64 // against other goals of the tier
}

// Elsewhere is what it would cost more that replica k of a shard were on a server instead of where it will be, the most important goal first;
// goals that it is nothing to are left out. k -1 is one more replica, in a role.
func (t *Tally) Elsewhere(i, k int, role shard.Role, server int) []Cost {
	from := t.at(i, k)
	if from == server {
		return nil
	}
	if k >= 0 {
		role = t.in.Shards[i].Replicas[k].Role
	}
	var list []Cost
	for g := range t.ofShards[t.classAt(i)] {
		a := &t.ofShards[t.classAt(i)][g]
		list = add(list, a, t.moreOfReplica(a, i, k, role, from, server))
	}
	for g := range t.ofServers {
		if a := &t.ofServers[g]; a.Weight > 0 {
			list = add(list, a, t.moreOfLoad(a, t.load(i, role), from, server))
		}
	}
	slices.SortStableFunc(list, func(a, b Cost) int { return cmp.Compare(a.Tier, b.Tier) })
	return list
}

func add(list []Cost, a *aim, amount int64) []Cost {
	if amount == 0 {
		return list
	}
	tier := a.Tier
	if tier == Below && amount > 0 {
		tier = Kept
	}
	return append(list, Cost{tier, a.Name, a.unit, amount, a.Weight})
}

func (t *Tally) classAt(i int) int {
	if t.in.Terms == nil {
		return 0
	}
	return int(t.in.Terms.Of[i])
}

// moreOfReplica is what a goal that counts replicas counts more.
func (t *Tally) moreOfReplica(a *aim, i, k int, role shard.Role, from, to int) int64 {
	switch {
	case a.Kind == terms.Movement:
		if from < 0 || a.MostMoved {
			return 0
		}
		return t.weight(a, i, role, from, to)
	case a.Kind == terms.Apart:
		return t.near(a, t.places(i, k, to)) - t.near(a, t.places(i, k, from))
	case a.Primaries && role != shard.Primary:
		return 0
	case from < 0:
		return a.row[to]
	}
	return a.row[to] - a.row[from]
}

// weight is what a move weighs.
func (t *Tally) weight(a *aim, i int, role shard.Role, from, to int) int64 {
	weight := int64(1)
	if a.Metric != "" {
		weight = 0
		if m := t.position(a.Metric); m >= 0 {
			weight = t.load(i, role)[m]
		}
	}
	for _, r := range a.Moves {
		if r.From == t.in.Servers[from].Locality.Region && r.To == t.in.Servers[to].Locality.Region {
			weight = load.Plus(weight, r.Cost)
		}
	}
	return weight
}

// near is how many domains the replicas at some places lack, or by how many there are too many in one.
func (t *Tally) near(a *aim, places []int) int64 {
	counts := map[int]int{}
	for _, p := range places {
		counts[t.domain(a.Spread.Over, p)]++
	}
	if most := a.Spread.AtMost; most > 0 {
		sum := 0
		for _, n := range counts {
			sum += max(0, n-most)
		}
		return int64(sum)
	}
	return int64(max(0, min(a.Spread.AtLeast, len(places))-len(counts)))
}

// moreOfLoad is what a goal that counts the loads of servers counts more. Of a balance it is by how much the two servers together are farther off
// their shares, as the root of the sum of squares, so that it is less exactly where the sum of squares is.
func (t *Tally) moreOfLoad(a *aim, l load.Vector, from, to int) int64 {
	before, after := t.uses(l, from, to)
	if a.cost != nil {
		sum := int64(0)
		for k := range before {
			sum += a.cost(after[k]) - a.cost(before[k])
		}
		return sum
	}
	squares := func(list []use) (sum int64) {
		for _, u := range list {
			b := min(a.beyond(u.load, u.server), 1<<30)
			sum = load.Plus(sum, b*b)
		}
		return sum
	}
	x, y := squares(after), squares(before)
	if more := root(x) - root(y); more != 0 {
		return more
	}
	return int64(cmp.Compare(x, y)) // less than one, and not nothing
}

func root(n int64) int64 { return int64(math.Sqrt(float64(n))) }

// uses are those of two servers before and after a load moves from one to the other; from -1 is from nowhere.
func (t *Tally) uses(l load.Vector, from, to int) (before, after []use) {
	change := func(server, replicas int, by func(v, l load.Vector)) {
		v := slices.Clone(t.settled[server])
		before = append(before, use{server, t.settled[server], t.replicas[server]})
		by(v, l)
		after = append(after, use{server, v, t.replicas[server] + replicas})
	}
	change(to, 1, load.Vector.Add)
	if from >= 0 {
		change(from, -1, load.Vector.Sub)
	}
	return before, after
}

// weighted is what a cost counts in its tier; it saturates.
func (c Cost) weighted() int64 {
	if c.Amount < 0 {
		return -load.MulDiv(-c.Amount, c.Weight, 1)
	}
	return load.MulDiv(c.Amount, c.Weight, 1)
}

// Compare compares two lists of costs by what they come to: the most important tier in which they differ decides, and in it the weighted sum.
func Compare(a, b []Cost) int {
	for i, j := 0, 0; i < len(a) || j < len(b); {
		tier := math.MaxInt
		if i < len(a) {
			tier = a[i].Tier
		}
		if j < len(b) {
			tier = min(tier, b[j].Tier)
		}
		x, y := int64(0), int64(0)
		for ; i < len(a) && a[i].Tier == tier; i++ {
			x = load.Plus(x, a[i].weighted())
		}
		for ; j < len(b) && b[j].Tier == tier; j++ {
			y = load.Plus(y, b[j].weighted())
		}
		if x != y {
			return cmp.Compare(x, y)
		}
	}
	return 0
}

// Totals is what the goals cost, all together, the most important first; a balance costs what its worst server is off its share, or, as a sum of
// squares, the root of their mean. What moves cost is Moved.
func (t *Tally) Totals() []Cost {
	var list []Cost
	total := func(a *aim, amount int64) {
		at := slices.IndexFunc(list, func(c Cost) bool { return c.Tier == a.Tier && c.Goal == a.Name })
		if at < 0 {
			at, list = len(list), append(list, Cost{a.Tier, a.Name, a.unit, 0, a.Weight})
		}
		list[at].Amount = load.Plus(list[at].Amount, amount)
	}
	for i := range t.in.Shards {
		for g := range t.ofShards[t.classAt(i)] {
			if a := &t.ofShards[t.classAt(i)][g]; a.Kind != terms.Movement || !a.MostMoved {
				total(a, t.ofShard(a, i))
			}
		}
	}
	for g := range t.ofServers {
		if a := &t.ofServers[g]; a.Weight > 0 {
			total(a, t.ofLoad(a))
		}
	}
	slices.SortStableFunc(list, func(a, b Cost) int { return cmp.Compare(a.Tier, b.Tier) })
	return list
}

func (t *Tally) ofShard(a *aim, i int) (sum int64) {
	switch a.Kind {
	case terms.Movement:
		return 0
	case terms.Apart:
		return t.near(a, t.places(i, -1, -1))
	case terms.Preference, terms.Drain, terms.Utilization, terms.Balance, terms.Latency, terms.Cost, terms.Failover:
	}
	for k := range t.in.Shards[i].Replicas {
		r := &t.in.Shards[i].Replicas[k]
		if p := Place(r); p >= 0 && !r.Leaving && (r.Role == shard.Primary || !a.Primaries) {
			sum += a.row[p]
		}
	}
	return sum
}

func (t *Tally) ofLoad(a *aim) int64 {
	sum, worst, parts := int64(0), int64(0), int64(0)
	for i := range t.in.Servers {
		if a.cost != nil {
			sum = load.Plus(sum, a.cost(use{i, t.settled[i], t.replicas[i]}))
		} else if a.share[i] > 0 {
			b := min(a.beyond(t.settled[i], i), 1<<30)
			sum, worst, parts = load.Plus(sum, b*b), max(worst, b), parts+1
		}
	}
	switch {
	case a.cost != nil:
		return sum
	case a.Largest || a.built:
		return worst
	}
	return root(sum / max(1, parts))
}

// Moved is what the move of a replica of a shard from one server to another costs by the goals of its policy that count moves.
func (t *Tally) Moved(i int, role shard.Role, from, to int) (list []Cost) {
	for g := range t.ofShards[t.classAt(i)] {
		if a := &t.ofShards[t.classAt(i)][g]; a.Kind == terms.Movement && !a.MostMoved {
			list = add(list, a, t.weight(a, i, role, from, to))
		}
	}
	return list
}

// counted is how many replicas a goal counts each by itself, so that a mean can be told; 0: it counts otherwise.
func (t *Tally) counted(c Cost) (n int64) {
	for i := range t.in.Shards {
		for g := range t.ofShards[t.classAt(i)] {
			if a := &t.ofShards[t.classAt(i)][g]; a.Name == c.Goal && a.Tier == c.Tier && a.row != nil {
				for k := range t.in.Shards[i].Replicas {
					if r := &t.in.Shards[i].Replicas[k]; Place(r) >= 0 && !r.Leaving && (r.Role == shard.Primary || !a.Primaries) {
						n++
					}
				}
			}
		}
	}
	return n
}

// Decisive are the costs of the most important tier that is not even; none: all are.
func Decisive(costs []Cost) []Cost {
	for from := 0; from < len(costs); {
		to := from
		for to < len(costs) && costs[to].Tier == costs[from].Tier {
			to++
		}
		if Compare(costs[from:to], nil) != 0 {
			return costs[from:to]
		}
		from = to
	}
	return nil
}
