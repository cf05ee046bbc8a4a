package main

// score computes from the definitions of the challenge what an assignment costs and how many constraints it breaks. Nothing of the
// engine is used.
func (in *instance) score(initial, places []int32) (cost int64, violations int) {
	use := make([]int64, in.machines*in.resources)
	transient := make([]int64, len(use))
	for p, m := range places {
		for r := range in.resources {
			need := in.need[p*in.resources+r]
			use[int(m)*in.resources+r] += need
			if in.transient[r] && initial[p] != m {
				transient[int(initial[p])*in.resources+r] += need
			}
		}
	}
	for i, u := range use {
		if u+transient[i] > in.capacity[i] {
			violations++
		}
		cost += in.loadWeight[i%in.resources] * max(0, u-in.safety[i])
	}
	for _, b := range in.balances {
		for m := range in.machines {
			free := func(r int) int64 { return in.capacity[m*in.resources+r] - use[m*in.resources+r] }
			cost += b.weight * max(0, b.target*free(b.a)-free(b.b))
		}
	}
	return cost + in.scoreMoves(initial, places), violations + in.scoreServices(places)
}

func (in *instance) scoreMoves(initial, places []int32) (cost int64) {
	moved, most := make([]int64, in.services), int64(0)
	for p, m := range places {
		if initial[p] == m {
			continue
		}
		cost += in.processWeight*in.moveCost[p] + in.machineWeight*int64(in.route[int(initial[p])*in.machines+int(m)])
		s := in.service[p]
		moved[s]++
		most = max(most, moved[s])
	}
	return cost + in.serviceWeight*most
}

func (in *instance) scoreServices(places []int32) (violations int) {
	machines, sites, hoods := make([]map[int32]bool, in.services), make([]map[int32]bool, in.services), make([]map[int32]bool, in.services)
	for s := range in.services {
		machines[s], sites[s], hoods[s] = map[int32]bool{}, map[int32]bool{}, map[int32]bool{}
	}
	for p, m := range places {
		s := in.service[p]
		if machines[s][m] {
			violations++
		}
		machines[s][m], sites[s][in.site[m]], hoods[s][in.hood[m]] = true, true, true
	}
	for s, least := range in.spreadMin {
		if len(sites[s]) < least {
			violations++
		}
	}
	for _, d := range in.depends {
		for h := range hoods[d[0]] {
			if !hoods[d[1]][h] {
				violations++
			}
		}
	}
	return violations
}
