package placement

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/field"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// ref is one replica: of shard i, number k.
type ref struct{ i, k int }

// relocation is the quest for another place of a replica, under the caps.
func (s *state) relocation(i, k int) quest {
	q := s.quest(i, k, s.replicas[i][k].role)
	q.allowed = func(server int) bool { return !s.capped(server) }
	return q
}

// secondariesFirst lists the replicas of a shard that may move, the primary last: its move costs more.
func (s *state) secondariesFirst(i int) []int {
	return slices.DeleteFunc(s.primaryLast(i), func(k int) bool { return !s.replicas[i][k].movable() })
}

// primaryLast is the order in which replicas of a shard are looked at: where it is all the same, those that come first move.
func (s *state) primaryLast(i int) []int {
	list := make([]int, 0, len(s.replicas[i]))
	for k := range s.replicas[i] {
		list = append(list, k)
	}
	if p := s.primaryOf(i); p >= 0 {
		list = append(slices.Delete(list, p, p+1), p)
	}
	return list
}

// drain empties the servers that want to be left, as far as the caps let it.
func (s *state) drain() {
	var list []int
	for i := range s.in.Shards {
		if s.held(i) || s.moved[i] {
			continue
		}
		if slices.ContainsFunc(s.replicas[i], func(r replica) bool { return r.movable() && s.leaves(r) }) {
			list = append(list, i)
		}
	}
	for _, i := range s.ordered(list) {
		if s.full() {
			return
		}
		s.drainShard(i)
	}
}

// drainShard moves one replica of a shard away from a server that wants to be left: its primary, if that is on one.
func (s *state) drainShard(i int) {
	for _, k := range slices.Backward(s.secondariesFirst(i)) {
		r := s.replicas[i][k]
		switch {
		case !s.leaves(r) || s.capped(r.on):
			continue
		case s.yields(r) && (s.handOver(i, k, Drain, everywhere, "its primaries leave "+string(s.serverID(r.on))+"; ") || !s.in.Servers[r.on].Yields):
			return
		case s.in.Shards[i].Backoff:
			s.stuck(i, Migrate, r.on, Drain, bindsQuarantine, whyQuarantine)
			continue
		}
		q := s.relocation(i, k)
		left := fmt.Sprintf("%s is to be left; ", s.serverID(r.on))
		if to, width := s.home(q); to >= 0 && !s.choosy(i) {
			s.migrate(i, k, to, Drain, s.whyHere(i, to, width, left))
			return
		}
		if r.role == shard.Primary && s.handOver(i, k, Drain, everywhere, left+"no server has room for the replica; ") {
			return
		}
		if binds, why := s.binds(q); binds != bindsCap && !s.choosy(i) {
			s.stuck(i, Migrate, r.on, Drain, binds, why)
		}
	}
}

// leaves reports whether a replica is to leave its server.
func (s *state) leaves(r replica) bool { return s.in.Servers[r.on].Leaving || s.yields(r) }

// yields reports whether a primary is to leave a server that keeps its replicas.
func (s *state) yields(r replica) bool {
	at := &s.in.Servers[r.on]
	return r.role == shard.Primary && (at.Yields || at.Demotes) && !at.Leaving
}

// handOver promotes the best heir of those on servers that accept and are wanted.
func (s *state) handOver(i, from int, reason Reason, wanted func(server int) bool, why string) bool {
	best := s.heir(i, from, func(server int) bool {
		return s.in.Servers[server].Accepts && !s.capped(server) && s.primaryFits(server) && wanted(server)
	})
	if best < 0 {
		return false
	}
	to := s.replicas[i][best].on
	s.promote(i, from, best, reason, fmt.Sprintf("%s%s has a replica in sync, and %d primaries", why, s.serverID(to), s.primariesAt(to)))
	return true
}

func everywhere(int) bool { return true }

// heir is the replica in sync that is the best to be promoted: on a server that stays, in the preferred region, with the fewest primaries
// beside it. −1: there is none.
func (s *state) heir(i, except int, allowed func(server int) bool) int {
	best, least := -1, [3]int64{}
	for k := range s.replicas[i] {
		r := &s.replicas[i][k]
		if k == except || !r.movable() || s.avoids(i, r.on) || !allowed(r.on) {
			continue
		}
		cost := [3]int64{0, int64(s.where.Rank(r.on)), s.primariesAt(r.on)}
		if at := &s.in.Servers[r.on]; !at.Accepts {
			cost[0] = 2
		} else if at.Planned {
			cost[0] = 1
		}
		if s.primaries >= 0 && s.share[r.on][s.primaries] > 0 {
			cost[2] = s.relative(r.on, s.primaries)
		}
		if best < 0 || slices.Compare(cost[:], least[:]) < 0 || (cost == least && r.on < s.replicas[i][best].on) {
			best, least = k, cost
		}
	}
	return best
}

// prefer brings primaries to the regions that they prefer: to a secondary in sync that is there, else with a migration.
func (s *state) prefer() {
	if len(s.where.Ranks) == 0 {
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
		on := s.replicas[i][k].on
		for rank := range s.where.Rank(on) {
			if s.preferRank(i, k, rank) {
				break
			}
		}
	}
}

// preferRank brings one primary to regions of a rank; it reports whether there is no more to do, a wait included.
func (s *state) preferRank(i, k, rank int) bool {
	on := s.replicas[i][k].on
	why := fmt.Sprintf("%s is farther from %s than others; ", s.where.RegionOf(on), field.Region{Name: s.in.Policy.PreferRegions[0]})
	if rank < len(s.in.Policy.PreferRegions) {
		why = fmt.Sprintf("%s is preferred to %s; ", field.Region{Name: s.in.Policy.PreferRegions[rank]}, s.where.RegionOf(on))
	}
	if s.handOver(i, k, Preference, func(server int) bool { return s.where.Rank(server) == rank }, why) {
		return true
	}
	there := false
	for _, r := range s.replicas[i] {
		if r.leaving || r.role != shard.Secondary || r.at < 0 || s.where.Rank(r.at) != rank {
			continue
		}
		if there = true; !r.settled && s.in.Servers[r.at].Accepts {
			return true // it will be promoted once it is in sync
		}
	}
	// The primary itself, or, where its region needs it, another replica, which is promoted once it is there.
	for _, other := range slices.Backward(s.secondariesFirst(i)) {
		if (other == k || !there) && s.settleIn(i, other, rank, why) {
			return true
		}
	}
	return false
}

// settleIn migrates a replica to regions of a rank, where it can be the primary, from less preferred ones.
func (s *state) settleIn(i, k, rank int, why string) bool {
	on := s.replicas[i][k].on
	if s.capped(on) || s.where.Rank(on) <= rank || s.choosy(i) {
		return false
	}
	q := s.relocation(i, k)
	if s.replicas[i][k].role == shard.Secondary {
		q.allowed = func(server int) bool { return !s.capped(server) && s.primaryFits(server) }
	}
	for _, r := range s.where.Ranks[rank] {
		if s.where.Regions[r].Accepts > 0 && s.spare(i, k) {
			q.regions = append(q.regions, r)
		}
	}
	if q.regions == nil {
		return false
	}
	to, width := s.widest(q)
	if to >= 0 {
		s.migrate(i, k, to, Preference, s.whyHere(i, to, width, why))
	}
	return to >= 0
}

// distinct counts the domains of a width that a shard's replicas are in.
func (s *state) distinct(i int, width locality.Domain) (n int) {
	for k, r := range s.replicas[i] {
		first := !r.leaving && r.at >= 0
		for _, other := range s.replicas[i][:k] {
			first = first && (other.leaving || other.at < 0 || !s.where.Shared(r.at, other.at, width))
		}
		if first {
			n++
		}
	}
	return n
}

// repair fills regions with too few replicas. What else the input breaks is the engine's.
func (s *state) repair() {
	for i := range s.in.Shards {
		if !s.held(i) && !s.choosy(i) {
			s.fillRegions(i)
		}
	}
}

// fillRegions moves a replica to a region that must have more of them than it has.
func (s *state) fillRegions(i int) {
	lacks, sum := s.lacking(i)
	if sum == 0 || s.count(i) < s.in.Wanted(i) {
		return // what is missing is explained already
	}
	for r, n := range lacks {
		if n == 0 || (s.restless(i) && s.where.Regions[r].Accepts > 0) || s.fillRegion(i, r) {
			continue // the next plan goes on
		}
		for range n {
			s.stuck(i, Migrate, -1, Repair, bindsRegion+s.where.Regions[r].Name, s.whyLacking(r, n))
		}
	}
}

// fillRegion moves one replica of a shard to a region; false if that is not possible whatever the caps.
func (s *state) fillRegion(i, r int) bool {
	if s.where.Regions[r].Accepts == 0 {
		return false
	}
	for _, k := range s.secondariesFirst(i) {
		if !s.spare(i, k) || s.where.InRegion[s.replicas[i][k].at] == r {
			continue
		}
		if s.capped(s.replicas[i][k].on) || s.full() {
			return true
		}
		q := s.relocation(i, k)
		q.regions = []int{r}
		if to, width := s.widest(q); to >= 0 {
			s.migrate(i, k, to, Repair, s.whyHere(i, to, width, s.where.Regions[r].String()+" lacks a replica; "))
			return true
		}
	}
	return false
}
