package main

import (
	"math"
	"math/rand/v2"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// churn draws the loads of 1 024 shards on 128 servers anew each round, by Zipf's law with an exponent between 0.25 and 0.75, and brings every
// server within 10 % of the mean. A shard that is more than that has a server of its own, and the mean is of the others.
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
		p := churned(random, servers, places)
		before := strays(p, places)
		least, each := unavoidable(p), o
		each.seed += uint64(round)
		r, next, err := solve(p, each, func(_ int64, cost [problem.MaxTiers]int64) bool { return cost[0] <= least })
		if err != nil {
			return nil, err
		}
		places = next
		sum.Seconds, sum.Build, sum.Steps, sum.Moves = sum.Seconds+r.Seconds, sum.Build+r.Build, sum.Steps+r.Steps, sum.Moves+r.Moves
		sum.Before, sum.Violations = sum.Before+before, sum.Violations+strays(p, places)
	}
	sum.RoundMS, sum.RoundMoves = sum.Seconds*1000/float64(o.rounds), float64(sum.Moves)/float64(o.rounds)
	return sum, nil
}

// churned is one round: fixed point with three decimals.
func churned(random *rand.Rand, servers int, places []int32) *problem.Problem {
	shards := len(places)
	p := &problem.Problem{Metrics: 1, Servers: servers, Replicas: shards, Groups: shards, Tiers: 2, During: []bool{false},
		Exclusive: make([]bool, shards), Start: places, Load: make([]int64, shards), Group: make([]int32, shards), Unplaced: problem.Goal{Weight: 1}}
	exponent, total := 0.25+random.Float64()/2, int64(0)
	for rank, r := range random.Perm(shards) {
		p.Load[r] = int64(1e9 / math.Pow(float64(rank+1), exponent))
		p.Group[r] = int32(r)
		total += p.Load[r]
	}
	mean := total / int64(servers)
	for large := 0; ; { // shards above the mean by more than a tenth
		n, rest := 0, total
		for _, l := range p.Load {
			if l > mean+mean/10 {
				n, rest = n+1, rest-l
			}
		}
		if n == large {
			break
		}
		large, mean = n, rest/int64(servers-n)
	}
	b := problem.Balance{Goal: problem.Goal{Weight: 1}}
	for range servers {
		p.Capacity = append(p.Capacity, math.MaxInt64/8)
		b.Share, b.Slack, b.Unit = append(b.Share, mean), append(b.Slack, mean/10), append(b.Unit, max(1, mean/1000))
	}
	p.Balances = []problem.Balance{b}
	p.Movement = problem.Movement{Replica: make([]int64, shards), ReplicaWeight: 1, Tier: 1}
	for r := range p.Movement.Replica {
		p.Movement.Replica[r] = 1
	}
	return p
}

// unavoidable is the cost of shards that are too large for any server.
func unavoidable(p *problem.Problem) (cost int64) {
	b := &p.Balances[0]
	for _, l := range p.Load {
		if off := l - b.Share[0] - b.Slack[0]; off > 0 {
			u := min(off/b.Unit[0], problem.MaxUnits)
			cost += u * u
		}
	}
	return cost
}

// strays counts the servers that are not within 10 % of the mean, without those whose only shard is too large.
func strays(p *problem.Problem, places []int32) (n int) {
	use, count := make([]int64, p.Servers), make([]int, p.Servers)
	for r, t := range places {
		use[t] += p.Load[r]
		count[t]++
	}
	b := &p.Balances[0]
	for t, u := range use {
		if u > b.Share[t]+b.Slack[t] && count[t] > 1 || u < b.Share[t]-b.Slack[t] {
			n++
		}
	}
	return n
}
