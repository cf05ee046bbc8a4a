package placement

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/placement/goals"
	"github.com/shardmanager/shardmanager/internal/load"
)

// Constraints that exclude servers, as decisions name them, some with a metric or a region; `spread <width>` is the other.
const (
	bindsAccepts  = "accepts"
	bindsAvoid    = "avoid"
	bindsCapacity = "capacity."
	bindsRegion   = "region_replicas."
	bindsCap      = "moves_per_server" // nothing but the caps on moves keeps a replica where it is
)

// binds finds the constraint that leaves no place for a replica.
func (s *state) binds(q quest) (binds, why string) {
	accepting := s.where.Accepts
	if accepting == 0 {
		return bindsAccepts, fmt.Sprintf("none of %d servers accepts shards: start one, or end a drain", len(s.in.Servers))
	}
	most := s.tree.Room()
	for m, need := range q.need {
		if need > 0 && need > most[m] {
			return bindsCapacity + s.metrics.Name(m), fmt.Sprintf("it needs %d of %s; the most that one of %d servers has left is %d",
				need, s.metrics.Name(m), accepting, max(0, most[m]))
		}
	}
	free := q
	free.allowed, free.heedless, free.width = nil, true, s.width(q.i)
	if free.regions == nil && q.k >= 0 && !s.spare(q.i, q.k) {
		free.regions = []int{s.where.InRegion[s.replicas[q.i][q.k].at]}
	}
	if binds, why := s.bindsWhere(free); binds != "" {
		return binds, why
	}
	if binds, why := s.bindsRoom(free, accepting); binds != "" {
		return binds, why
	}
	anywhere := s.find(free)
	free.heedless = false
	if s.find(free) < 0 {
		return bindsAvoid, fmt.Sprintf("callbacks for it failed lately at every server with room, %s the best of them", s.serverID(anywhere))
	}
	return bindsCap, fmt.Sprintf("every server with room has %d moves already", s.in.Policy.MovesPerServer)
}

// bindsWhere says whether the fault domains or the regions alone exclude every server.
func (s *state) bindsWhere(free quest) (binds, why string) {
	free.need = make(load.Vector, s.metrics.Len())
	if s.find(free) >= 0 {
		return "", ""
	}
	if r := free.regions; r != nil {
		free.regions = nil
		if s.find(free) >= 0 {
			home := s.where.Regions[r[0]]
			return bindsRegion + home.Name, fmt.Sprintf("%d replicas wanted in %s, and no other of its %d servers may have this one",
				home.Least, home, home.Accepts)
		}
	}
	if binds, why := s.bindsPolicy(free.i); binds != "" {
		return binds, why
	}
	why = fmt.Sprintf("%d replicas wanted, %d %ss have servers", s.in.Wanted(free.i), s.where.Open[free.width], free.width)
	if s.where.Open[free.width] >= s.in.Wanted(free.i) {
		why += ", and no other of them is free"
	}
	return "spread " + free.width.String(), why
}

// bindsPolicy says whether policies alone exclude every server that accepts, and how many each constraint excludes.
func (s *state) bindsPolicy(i int) (binds, why string) {
	counts := map[string]int{}
	for server := range s.in.Servers {
		if !s.in.Servers[server].Accepts {
			continue
		}
		name := s.barred(i, server)
		if name == "" {
			return "", ""
		}
		counts[name]++
	}
	return goals.Binding(counts)
}

// bindsRoom says whether the servers where a replica might be lack room, and of what.
func (s *state) bindsRoom(free quest, accepting int) (binds, why string) {
	if s.find(free) >= 0 {
		return "", ""
	}
	all := free.need
	for m, need := range all {
		free.need = make(load.Vector, len(all))
		free.need[m] = need
		if s.find(free) < 0 {
			return bindsCapacity + s.metrics.Name(m), fmt.Sprintf("it needs %d of %s; no server in a %s without another replica has so much left",
				need, s.metrics.Name(m), free.width)
		}
	}
	return "capacity", fmt.Sprintf("none of %d servers has room in all %d metrics at once", accepting, len(all))
}

// whyLacking says why a region lacks n replicas of a shard.
func (s *state) whyLacking(r, n int) string {
	region := &s.where.Regions[r]
	head := fmt.Sprintf("%d replicas wanted in %s, %d there: ", region.Least, region, region.Least-n)
	switch servers := region.Span.To - region.Span.From; {
	case servers == 0:
		return head + "no server is in it"
	case region.Accepts == 0:
		return head + fmt.Sprintf("none of its %d servers accepts shards", servers)
	}
	return head + fmt.Sprintf("none of its %d servers may have it or has room", region.Accepts)
}
