package engine_test

import "github.com/shardmanager/shardmanager/allocator/placement/problem"

// charged is what servers are charged with while an assignment is carried out.
func charged(p *problem.Problem, places []int32) []int64 {
	list := make([]int64, p.Servers*p.Metrics)
	for r, t := range places {
		for m := range p.Metrics {
			if t >= 0 {
				list[int(t)*p.Metrics+m] += p.Load[r*p.Metrics+m]
			}
			if s := p.Start[r]; s >= 0 && s != t && p.During[m] {
				list[int(s)*p.Metrics+m] += p.Load[r*p.Metrics+m]
			}
		}
	}
	return list
}

// naive computes from the definitions what an assignment breaks and costs. Nothing of the engine is used.
func naive(p *problem.Problem, places []int32) (broken int64, cost [problem.MaxTiers]int64) {
	use := make([]int64, p.Servers*p.Metrics)
	held := make([]int, p.Servers)
	for r, t := range places {
		for m := range p.Metrics {
			l := p.Load[r*p.Metrics+m]
			if t >= 0 {
				use[int(t)*p.Metrics+m] += l
			}
		}
		if t >= 0 {
			held[t]++
		} else {
			cost[p.Unplaced.Tier] += p.Unplaced.Weight
		}
	}
	for i, u := range use {
		if over := u - p.Capacity[i]; over > 0 {
			broken += 1 + over/(p.Capacity[i]/1000+1)
		}
	}
	broken += naiveGroups(p, places, &cost)
	for _, g := range p.Thresholds {
		for t, limit := range g.Limit {
			over := max(0, use[t*p.Metrics+g.Metric]-limit)
			if g.Per != nil {
				over = (over*1_000_000 + g.Per[t] - 1) / g.Per[t]
			}
			cost[g.Tier] += g.Weight * over
		}
	}
	for _, g := range p.Ratios {
		for t := range p.Servers {
			a, b := t*p.Metrics+g.A, t*p.Metrics+g.B
			cost[g.Tier] += g.Weight * max(0, g.Target*(p.Capacity[a]-use[a])-(p.Capacity[b]-use[b]))
		}
	}
	for _, g := range p.Balances {
		for t, share := range g.Share {
			off := use[t*p.Metrics+g.Metric] - share
			if off < 0 && !g.Above {
				off = -off
			}
			u := max(0, off-g.Slack[t]) / g.Unit[t]
			cost[g.Tier] += g.Weight * max(0, u*u-g.Free[t])
		}
	}
	for _, g := range p.Peaks {
		height := make([]int64, p.Servers)
		for t, share := range g.Share {
			height[t] = max(0, max(0, use[t*p.Metrics+g.Metric]-share-g.Slack[t])/g.Unit[t]-g.Free[t])
		}
		for d := range p.Servers {
			most, have, servers := int64(0), int64(0), int64(0)
			for t, h := range height {
				if g.Level < 0 && d > 0 || g.Level >= 0 && int(p.Domains[g.Level][t]) != d {
					continue
				}
				if servers++; h > most {
					most, have = h, 0
				}
				if h == most {
					have++
				}
			}
			if most > 0 {
				cost[g.Tier] += g.Weight * ((most-1)*servers + have)
			}
		}
	}
	for t, c := range p.Opening.Cost {
		if held[t] > 0 {
			cost[p.Opening.Tier] += p.Opening.Weight * c
		}
	}
	for _, g := range p.Affinities {
		for r, t := range places {
			if t < 0 {
				continue
			}
			c := g.Weight * g.Cost[g.Of[r]][p.Domains[g.Level][t]]
			if g.Scale >= 0 {
				c *= p.Load[r*p.Metrics+g.Scale]
			}
			cost[g.Tier] += c
		}
	}
	naiveFailovers(p, places, &cost)
	naiveMovement(p, places, &cost)
	return broken, cost
}

func naiveGroups(p *problem.Problem, places []int32, cost *[problem.MaxTiers]int64) (broken int64) {
	in := func(g, level int, d int32) (n int) {
		for r, t := range places {
			if int(p.Group[r]) == g && t >= 0 && p.Domains[level][t] == d {
				n++
			}
		}
		return n
	}
	for r, t := range places {
		if t < 0 {
			continue
		}
		if p.Eligible != nil && p.Eligible[p.Class[r]] != nil && p.Eligible[p.Class[r]][t/64]>>(uint(t)%64)&1 == 0 {
			broken++
		}
		for q := range r {
			if p.Exclusive[p.Group[r]] && p.Group[q] == p.Group[r] && places[q] == t {
				broken++
			}
		}
		for _, d := range p.Relations {
			if int(p.Group[r]) == d.Group && d.Group != d.On && (in(d.On, d.Level, p.Domains[d.Level][t]) == 0) == !d.Not {
				broken++
			}
		}
	}
	for _, s := range p.Spreads {
		distinct := 0
		for d := range p.Servers {
			n := in(s.Group, s.Level, int32(d))
			if n > 0 {
				distinct++
			}
			if s.Max > 0 {
				broken += int64(max(0, n-s.Max))
			}
		}
		broken += int64(max(0, s.Min-distinct))
		cost[s.Goal.Tier] += s.Goal.Weight * int64(max(0, s.Want-distinct))
	}
	return broken
}

func naiveFailovers(p *problem.Problem, places []int32, cost *[problem.MaxTiers]int64) {
	for _, f := range p.Failovers {
		count := map[[2]int32]int64{}
		for r, t := range places {
			for q, u := range places {
				if f.Lead[r] && q != r && p.Group[q] == p.Group[r] && t >= 0 && u >= 0 && p.Domains[f.Level][t] != p.Domains[f.Level][u] {
					count[[2]int32{p.Domains[f.Level][t], p.Domains[f.Level][u]}]++
				}
			}
		}
		for pair, n := range count {
			over := max(0, n-f.Fair[pair[0]])
			cost[f.Tier] += f.Weight * over * over
		}
	}
}

func naiveMovement(p *problem.Problem, places []int32, cost *[problem.MaxTiers]int64) {
	moved, most := make([]int64, p.Groups), int64(0)
	for r, t := range places {
		s := p.Start[r]
		if s < 0 || t < 0 || s == t {
			continue
		}
		if crowd := p.Movement.Crowd; crowd != nil {
			moved[crowd[p.Group[r]]]++
		} else {
			moved[p.Group[r]]++
		}
		if p.Movement.Replica != nil {
			cost[p.Movement.Tier] += p.Movement.ReplicaWeight * p.Movement.Replica[r]
		}
		if p.Movement.Route != nil {
			cost[p.Movement.Tier] += p.Movement.RouteWeight * int64(p.Movement.Route[int(s)*p.Servers+int(t)])
		}
	}
	for _, n := range moved {
		most = max(most, n)
	}
	cost[p.Movement.Tier] += p.Movement.GroupWeight * most
}
