package main

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// churn draws the loads of 1 024 shards on 128 servers anew each round, by Zipf's law with an exponent between 0.25 and 0.75, and brings every
// server within 10 % of the mean. That is impossible for a server that has a shard of more than that: it has to be alone there, the mean is of the
// other servers, and such servers are counted apart, for all rounds together.
func churn(o options) (*result, error) {
	shards, servers := 1024, 128
	if o.shards > 0 {
		shards = o.shards
	}
	if o.servers > 0 {
		servers = o.servers
	}
	random := rand.New(rand.NewPCG(o.seed, 0))
	places := make([]int32, shards)
	for r := range places {
		places[r] = int32(r % servers)
	}
	sum := &result{Servers: servers, Replicas: shards, Rounds: o.rounds}
	for round := range o.rounds {
		c := churned(random, servers, places)
		before, each := c.strays(places), o
		each.seed += uint64(round)
		r, next, err := c.solve(each)
		if err != nil {
			return nil, err
		}
		places = next
		sum.Seconds, sum.Build, sum.Steps, sum.Moves = sum.Seconds+r.Seconds, sum.Build+r.Build, sum.Steps+r.Steps, sum.Moves+moves(c.p.Start, places)
		sum.SlowestMS = max(sum.SlowestMS, r.Seconds*1000)
		sum.Before, sum.Violations, sum.Impossible = sum.Before+before, sum.Violations+c.strays(places), sum.Impossible+c.large
	}
	sum.RoundMS, sum.RoundMoves = sum.Seconds*1000/float64(o.rounds), float64(sum.Moves)/float64(o.rounds)
	return sum, nil
}

// churning is one round. Loads are fixed point.
type churning struct {
	p               *problem.Problem
	low, mean, high int64 // what a server may have
	large           int   // shards with more than that: none of them fits anywhere
}

func churned(random *rand.Rand, servers int, places []int32) *churning {
	shards := len(places)
	c := &churning{p: &problem.Problem{Metrics: 1, Servers: servers, Replicas: shards, Groups: shards, Tiers: 3, During: []bool{false},
		Exclusive: make([]bool, shards), Start: places, Load: make([]int64, shards), Group: make([]int32, shards), Unplaced: problem.Goal{Weight: 1}}}
	exponent, total := 0.25+random.Float64()/2, int64(0)
	for rank, r := range random.Perm(shards) {
		c.p.Load[r] = int64(1e9 / math.Pow(float64(rank+1), exponent))
		c.p.Group[r] = int32(r)
		total += c.p.Load[r]
	}
	c.bound(total)
	unit := max(1, c.mean/1000)
	b := problem.Balance{Goal: problem.Goal{Weight: 1}, Share: slices.Repeat([]int64{c.mean}, servers), Unit: slices.Repeat([]int64{unit}, servers),
		Slack: slices.Repeat([]int64{c.high - c.mean - unit}, servers)} // less than a unit more costs nothing
	high := b // first: that is where load is felt
	high.Above, b.Tier = true, 1
	c.p.Balances = []problem.Balance{high, b}
	c.p.Capacity = slices.Repeat([]int64{math.MaxInt64 / 8}, servers)
	c.p.Movement = problem.Movement{Replica: slices.Repeat([]int64{1}, shards), ReplicaWeight: 1, Tier: 2}
	return c
}

// bound finds the mean of the servers without a shard that is larger than they may have, which makes the mean lower, and more shards too large.
func (c *churning) bound(total int64) {
	for large := -1; large < c.large; {
		large = c.large
		rest, n := total, 0
		for _, l := range c.p.Load {
			if large > 0 && l > c.high {
				n, rest = n+1, rest-l
			}
		}
		c.mean = rest / int64(c.p.Servers-n)
		c.low, c.high = c.mean-c.mean/10, c.mean+c.mean/10
		c.large = 0
		for _, l := range c.p.Load {
			if l > c.high {
				c.large++
			}
		}
	}
}

func (c *churning) solve(o options) (*result, []int32, error) {
	if o.greedy {
		begin, places := time.Now(), slices.Clone(c.p.Start)
		c.greedy(places)
		return &result{Seconds: time.Since(begin).Seconds()}, places, nil
	}
	return solve(c.p, o, nil)
}

// strays counts the servers that are not within 10 % of the mean, without those whose only shard is too large.
func (c *churning) strays(places []int32) (n int) {
	use, count := make([]int64, c.p.Servers), make([]int, c.p.Servers)
	for r, t := range places {
		use[t] += c.p.Load[r]
		count[t]++
	}
	for t, u := range use {
		if u > c.high && count[t] > 1 || u < c.low {
			n++
		}
	}
	return n
}

// greedy takes the largest shard that fits from the fullest server to the emptiest, until none is too full; then the largest that
// can be spared and fits from the fullest to those that are too empty.
func (c *churning) greedy(places []int32) {
	use, on := make([]int64, c.p.Servers), make([][]int32, c.p.Servers)
	for r, t := range places {
		use[t] += c.p.Load[r]
		on[t] = append(on[t], int32(r))
	}
	move := func(from, to int32, least int64) bool {
		slices.SortFunc(on[from], func(a, b int32) int { return cmp.Or(cmp.Compare(c.p.Load[b], c.p.Load[a]), cmp.Compare(a, b)) })
		for i, r := range on[from] {
			if l := c.p.Load[r]; use[to]+l <= c.high && use[from]-l >= least {
				places[r], use[from], use[to] = to, use[from]-l, use[to]+l
				on[from], on[to] = slices.Delete(on[from], i, i+1), append(on[to], r)
				return true
			}
		}
		return false
	}
	byUse := make([]int32, c.p.Servers) // fullest first
	for t := range byUse {
		byUse[t] = int32(t)
	}
	for moved := true; moved; {
		slices.SortFunc(byUse, func(a, b int32) int { return cmp.Or(cmp.Compare(use[b], use[a]), cmp.Compare(a, b)) })
		moved = false
		empty := byUse[len(byUse)-1]
		for _, full := range byUse {
			if moved = use[full] > c.high && len(on[full]) > 1 && move(full, empty, 0); moved {
				break
			}
		}
		for i := len(byUse) - 1; i >= 0 && !moved && use[byUse[i]] < c.low; i-- {
			for _, full := range byUse[:i] {
				if moved = move(full, byUse[i], c.low); moved {
					break
				}
			}
		}
	}
}
