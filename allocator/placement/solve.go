package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Solve proposes moves for one app. Hard, at every prefix of the plan: capacity per metric, with a shard in motion charged at both places;
// only servers that accept; the caps on moves, which placing an unplaced shard is exempt from; servers that a shard avoids, shards that are
// pinned or back off. Goals, in this order: place what is unplaced, urgent shards first; leave servers that want to be left; balance
// until no server is above another by more than the tolerance; move as little as possible. Ties go to the lower id.
//
// Places are chosen greedily, largest shard first, at the server that is least utilised afterwards; the balance is a local search that
// takes from the fullest server what brings it closest to the emptiest one, and stops where no single move lowers the higher of the two.
// That is exact for shards of equal load. Its cost is about (shards + moves) × log(servers).
func Solve(in Input) Plan {
	s := newState(&in)
	s.place()
	s.drain()
	s.balance()
	return s.finish()
}

// place finds homes for unplaced shards; no cap holds it back.
func (s *state) place() {
	var list []int
	for i := range s.in.Shards {
		switch sh := &s.in.Shards[i]; {
		case s.on[i] >= 0 || s.to[i] >= 0 || sh.Pinned:
		case sh.Backoff:
			s.stuck(i, placing(sh), "backoff", "callbacks failed lately; it is tried again after the backoff")
		default:
			list = append(list, i)
		}
	}
	for _, i := range s.ordered(list) {
		reason := placing(&s.in.Shards[i])
		to := s.home(i, func(server int) bool { return !s.avoids(i, server) })
		if to < 0 {
			binds, why := s.binds(i)
			s.stuck(i, reason, binds, why)
			continue
		}
		before := s.utilisation(to)
		s.move(i, to, reason, fmt.Sprintf("%s is the least utilised server with room: %d %% of its fair share before", s.serverID(to), before))
	}
}

func placing(sh *Shard) Reason {
	if sh.Urgent {
		return Failover
	}
	return Place
}

// home is the best server for a shard among those allowed; −1: none has room.
func (s *state) home(i int, allowed func(server int) bool) int {
	return s.tree.find(&search{by: s.metrics.Len(), bound: never, need: s.loads[i], allowed: allowed})
}

// ordered sorts shards for greedy placement: urgent ones, large ones, choosy ones first.
func (s *state) ordered(list []int) []int {
	size := make([]int64, len(s.in.Shards))
	for _, i := range list {
		for m, l := range s.loads[i] {
			size[i] = max(size[i], relativeSize(l, s.average[m]))
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		x, y := &s.in.Shards[a], &s.in.Shards[b]
		if x.Urgent != y.Urgent {
			if x.Urgent {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(size[b], size[a]), cmp.Compare(len(y.Avoid), len(x.Avoid)), cmp.Compare(x.Index, y.Index))
	})
	return list
}

func relativeSize(l, average int64) int64 {
	if average <= 0 {
		return 0
	}
	return min(l, math.MaxInt64/fair) * fair / average
}

// drain empties the servers that want to be left, as far as the caps let it.
func (s *state) drain() {
	var list []int
	for i := range s.in.Shards {
		if s.movable(i) && s.in.Servers[s.on[i]].Leaving {
			list = append(list, i)
		}
	}
	for _, i := range s.ordered(list) {
		on := s.on[i]
		switch {
		case s.full():
			return
		case s.capped(on):
			continue
		case s.in.Shards[i].Backoff:
			s.stuck(i, Drain, "backoff", "callbacks failed lately; it is tried again after the backoff")
			continue
		}
		to := s.home(i, func(server int) bool { return !s.avoids(i, server) && !s.capped(server) && server != on })
		if to < 0 {
			if binds, why := s.binds(i); binds != bindsCap {
				s.stuck(i, Drain, binds, why)
			}
			continue
		}
		before := s.utilisation(to)
		s.move(i, to, Drain, fmt.Sprintf("%s is to be left; %s is the least utilised server with room: %d %% of its fair share before",
			s.serverID(on), s.serverID(to), before))
	}
}

// bindsCap: nothing but the caps on moves keeps a shard where it is.
const bindsCap = "moves_per_server"

// binds finds the constraint that leaves no place for a shard.
func (s *state) binds(i int) (binds, why string) {
	accepting := 0
	for _, server := range s.in.Servers {
		if server.Accepts {
			accepting++
		}
	}
	if accepting == 0 {
		return "accepts", fmt.Sprintf("none of %d servers accepts shards: start one, or end a drain", len(s.in.Servers))
	}
	most := s.tree.roomOf(s.tree.root())
	for m, need := range s.loads[i] {
		if need > 0 && need > most[m] {
			return "capacity." + s.metrics.Name(m), fmt.Sprintf("it needs %d of %s; the most that one of %d servers has left is %d",
				need, s.metrics.Name(m), accepting, max(0, most[m]))
		}
	}
	anywhere := s.home(i, func(int) bool { return true })
	switch {
	case anywhere < 0:
		return "capacity", fmt.Sprintf("none of %d servers has room in all %d metrics at once", accepting, s.metrics.Len())
	case s.home(i, func(server int) bool { return !s.avoids(i, server) }) < 0:
		return "avoid", fmt.Sprintf("callbacks for it failed lately at every server with room, %s the best of them", s.serverID(anywhere))
	}
	return bindsCap, fmt.Sprintf("every server with room has %d moves already", s.in.Policy.MovesPerServer)
}
