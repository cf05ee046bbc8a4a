package placement

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
)

// preferByPolicy hands primaries over to replicas in sync that are where policies want primaries, tier by tier. It moves no state. Nothing but the goals
// of primaries depends on who is one, so it never costs other goals anything; where no replica is better placed, the engine moves the primary.
func (s *state) preferByPolicy() {
	if s.in.Terms == nil {
		return
	}
	for i := range s.in.Shards {
		k := s.primaryOf(i)
		if s.full() {
			return
		}
		if k < 0 || s.restless(i) || !s.replicas[i][k].movable() || s.capped(s.replicas[i][k].on) {
			continue
		}
		if least, goal := s.bestRole(i, k); least != nil {
			s.handOver(i, k, Preference, func(server int) bool {
				return slices.Equal(s.roleCosts(i, server), least) && s.where.Rank(server) <= s.where.Rank(s.replicas[i][k].on)
			}, goal+": it costs less there; ")
		}
	}
}

// bestRole is the least that the primary of a shard would cost on the server of one of its replicas, and the goal that says so; nil: no less than where
// it is.
func (s *state) bestRole(i, k int) (least []int64, goal string) {
	now := s.roleCosts(i, s.replicas[i][k].on)
	for other := range s.replicas[i] {
		r := &s.replicas[i][other]
		if other == k || !r.movable() || !s.in.Servers[r.on].Accepts || s.where.Rank(r.on) > s.where.Rank(s.replicas[i][k].on) {
			continue
		}
		if c := s.roleCosts(i, r.on); slices.Compare(c, now) < 0 && (least == nil || slices.Compare(c, least) < 0) {
			least = c
		}
	}
	if least == nil {
		return nil, ""
	}
	tier := -1
	for n := range least {
		if least[n] != now[n] {
			tier = n
			break
		}
	}
	return least, s.roleGoals(i)[tier].Name
}

// roleGoals are the first goals of each tier that count primaries by region.
func (s *state) roleGoals(i int) (list []terms.Goal) {
	for _, g := range s.in.Terms.Classes[s.class(i)].Goals {
		if g.OfRoles() && (len(list) == 0 || list[len(list)-1].Tier != g.Tier) {
			list = append(list, g)
		}
	}
	return list
}

// roleCosts is by tier what the primary of a shard costs on a server.
func (s *state) roleCosts(i, server int) (costs []int64) {
	region, tier := s.in.Servers[server].Locality.Region, 0
	for _, g := range s.in.Terms.Classes[s.class(i)].Goals {
		if !g.OfRoles() {
			continue
		}
		if len(costs) == 0 || g.Tier != tier {
			costs, tier = append(costs, 0), g.Tier
		}
		costs[len(costs)-1] = load.Plus(costs[len(costs)-1], load.MulDiv(g.InRegion(region, s.in.Apart), g.Weight, 1))
	}
	return costs
}
