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
	Counts int64 // against them, where that is not the amount, which is for people; 0: it is
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
	before, after := t.uses(t.load(i, role), from, server)
	for g := range t.ofServers {
		switch a := &t.ofServers[g]; {
		case a.Weight == 0:
		case a.takeovers != nil:
			list = add(list, a, t.moreTakenOver(a.takeovers, i, k, role, from, server))
		case a.cost != nil:
			list = add(list, a, sum(after, a.cost)-sum(before, a.cost))
		case a.fair == nil:
			list = add(list, a, moreUneven(a, before, after))
		case a.Largest:
			list = t.morePeaks(list, a, after)
		default:
			if more, off := a.fair.moreSquares(before, after); more != 0 {
				list = append(list, Cost{a.Tier, a.Name, a.unit, off, a.Weight, more})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Cost) int { return cmp.Compare(a.Tier, b.Tier) })
	return list
}

// add lists that a goal counts so much more. Of what is in currency there is one cost, whatever it is paid for.
func add(list []Cost, a *aim, amount int64) []Cost {
	if amount == 0 {
		return list
	}
	tier := a.Tier
	if tier == Below && amount > 0 {
		tier = Kept
	}
	c := Cost{tier, a.Name, a.unit, amount, a.Weight, 0}
	if a.unit != Price {
		return append(list, c)
	}
	at := slices.IndexFunc(list, func(o Cost) bool { return o.Tier == c.Tier && o.Goal == c.Goal })
	if at < 0 {
		return append(list, c.in(amount))
	}
	if sum := load.Plus(list[at].Counts, amount); sum != 0 {
		list[at] = c.in(sum)
		return list
	}
	return slices.Delete(list, at, at+1)
}

// in is a cost in currency, of so many thousandths; what is less than one of its unit is one.
func (c Cost) in(counts int64) Cost {
	c.Counts, c.Amount = counts, counts/thousandths
	if counts%thousandths != 0 {
		c.Amount += int64(cmp.Compare(counts, 0))
	}
	return c
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
	case a.together != nil:
		return a.together(i, t.spots(i, k, to, role)) - a.together(i, t.spots(i, k, from, role))
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

// moreUneven is by how much two servers together are farther off their shares, as the root of the sum of squares, so that it is less exactly where the
// sum of squares is.
func moreUneven(a *aim, before, after []use) int64 {
	square := func(u use) int64 {
		b := min(a.beyond(u.load, u.server), 1<<30)
		return b * b
	}
	x, y := sum(after, square), sum(before, square)
	return like(root(x)-root(y), x-y)
}

func sum(list []use, of func(u use) int64) (sum int64) {
	for _, u := range list {
		sum = load.Plus(sum, of(u))
	}
	return sum
}

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
	n := cmp.Or(c.Counts, c.Amount)
	if n < 0 {
		return -load.MulDiv(-n, c.Weight, 1)
	}
	return load.MulDiv(n, c.Weight, 1)
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

// Totals is what the goals cost, all together, the most important first; a balance costs what its fullest server is above its share, or, as a sum of
// squares, the root of their mean. What moves cost is Moved and MostMoved.
func (t *Tally) Totals() []Cost {
	var list []Cost
	total := func(c Cost) {
		at := slices.IndexFunc(list, func(o Cost) bool { return o.Tier == c.Tier && o.Goal == c.Goal })
		switch {
		case at < 0:
			list = append(list, c)
		case c.Unit == Price:
			list[at] = c.in(load.Plus(list[at].Counts, c.Counts))
		default:
			list[at].Amount = load.Plus(list[at].Amount, c.Amount)
		}
	}
	of := func(a *aim, amount int64) {
		c := Cost{a.Tier, a.Name, a.unit, amount, a.Weight, 0}
		if a.unit == Price {
			c = c.in(amount)
		}
		total(c)
	}
	for i := range t.in.Shards {
		for g := range t.ofShards[t.classAt(i)] {
			a := &t.ofShards[t.classAt(i)][g]
			of(a, t.ofShard(a, i))
		}
	}
	for g := range t.ofServers {
		switch a := &t.ofServers[g]; {
		case a.Weight == 0:
		case a.takeovers != nil:
			of(a, a.takeovers.total())
		case a.fair != nil && a.Largest:
			for domain := range a.fair.members {
				p := t.fullest(a.fair, domain, nil)
				height, count := t.peaks(a, domain)
				height.Amount, count.Amount = p.permille, p.count
				if total(height); p.count > 0 {
					total(count)
				}
			}
		case a.fair != nil:
			of(a, t.squares(a.fair))
		default:
			of(a, t.ofLoad(a))
		}
	}
	slices.SortStableFunc(list, func(a, b Cost) int { return cmp.Compare(a.Tier, b.Tier) })
	return list
}

func (t *Tally) ofShard(a *aim, i int) (sum int64) {
	switch {
	case a.Kind == terms.Movement:
		return 0
	case a.Kind == terms.Apart:
		return t.near(a, t.places(i, -1, -1))
	case a.together != nil:
		return a.together(i, t.spots(i, -1, -1, 0))
	}
	for _, s := range t.spots(i, -1, -1, 0) {
		if s.role == shard.Primary || !a.Primaries {
			sum += a.row[s.server]
		}
	}
	return sum
}

// ofLoad is what a goal that looks at each server by itself counts, or by how much the one that is farthest off its share is.
func (t *Tally) ofLoad(a *aim) (n int64) {
	for i := range t.in.Servers {
		if a.cost != nil {
			n = load.Plus(n, a.cost(use{i, t.settled[i], t.replicas[i]}))
		} else {
			n = max(n, min(a.beyond(t.settled[i], i), 1<<30))
		}
	}
	return n
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

// MostMoved is what goals cost that count only the group with the most moves, if that has so many.
func (t *Tally) MostMoved(moves int64) (list []Cost) {
	for c := range t.ofShards {
		for g := range t.ofShards[c] {
			a := &t.ofShards[c][g]
			if known := slices.ContainsFunc(list, func(o Cost) bool { return o.Tier == a.Tier && o.Goal == a.Name }); a.MostMoved && !known {
				list = add(list, a, moves)
			}
		}
	}
	return list
}

// Untold names the goals of a shard of which no place of one replica tells what it costs.
func (t *Tally) Untold(i int) (list []string) {
	for g := range t.ofShards[t.classAt(i)] {
		if a := &t.ofShards[t.classAt(i)][g]; a.MostMoved {
			list = append(list, a.Name+": not among the costs of a place: it counts the group with the most moves, whichever those are")
		}
	}
	return list
}

// counted is of how many a goal's cost is the sum, so that a mean can be told: replicas, or shards where it is to the nearest one; 0: it is no such sum.
func (t *Tally) counted(c Cost) (n int64) {
	for i := range t.in.Shards {
		for g := range t.ofShards[t.classAt(i)] {
			a := &t.ofShards[t.classAt(i)][g]
			if a.Name != c.Goal || a.Tier != c.Tier {
				continue
			}
			list := t.spots(i, -1, -1, 0)
			switch {
			case a.Kind == terms.Latency && a.together != nil:
				n += int64(min(1, len(list)))
			case a.row != nil:
				for _, s := range list {
					if s.role == shard.Primary || !a.Primaries {
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
