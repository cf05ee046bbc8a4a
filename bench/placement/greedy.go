package main

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// greedy mends spread, then takes the largest replica from the hottest server to the coolest one of its region that takes it, or else of another
// region that has no replica of the shard, until nothing is left to do.
func (w *world) greedy() *result {
	p := w.p
	begin := time.Now()
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
			if !stuck[t] && w.full(t, -1) >= 900 && (hot < 0 || w.full(t, -1) > w.full(hot, -1)) {
				hot = t
			}
		}
		if hot < 0 {
			break
		}
		slices.SortFunc(on[hot], func(a, b int) int { return int(p.Load[b*3]+p.Load[b*3+1]) - int(p.Load[a*3]+p.Load[a*3+1]) })
		moved := false
		for i, r := range on[hot] {
			if to := w.elsewhere(r, p.Domains[regionLevel][hot]); to >= 0 {
				w.take(r)
				w.put(r, to)
				on[hot], on[to], moved = slices.Delete(on[hot], i, i+1), append(on[to], r), true
				break
			}
		}
		stuck[hot] = !moved
	}
	out := &result{Servers: p.Servers, Replicas: p.Replicas, Seconds: time.Since(begin).Seconds()}
	out.judge(p, start, p.Start)
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

// elsewhere is the coolest server of a replica's region, or else of one where its shard is not; −1: none.
func (w *world) elsewhere(r int, region int32) int32 {
	to := w.coolest(r, int(region))
	replicas := w.p.Replicas / w.p.Groups
	first := int(w.p.Group[r]) * replicas
	for other := int32(0); to < 0 && int(other) < w.regions; other++ {
		taken := false
		for _, t := range w.p.Start[first : first+replicas] {
			taken = taken || w.p.Domains[regionLevel][t] == other
		}
		if !taken {
			to = w.coolest(r, int(other))
		}
	}
	return to
}
