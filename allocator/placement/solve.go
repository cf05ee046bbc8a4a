package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Solve proposes moves for one app.
// Hard, at every prefix of the plan: capacity per metric, with a replica in motion charged at both places; the spread; the numbers per region; only
// servers that accept; the caps on moves, but for what is missing. What the input breaks already is repaired where it can be, and never made worse.
//
// Goals in their order are in docs/placement.md. None is served at the cost of an earlier one, but that a server that is to be left is left.
// Places for what has none are chosen greedily, largest shard first. The balance, and what is more than a server can take, is the engine's: see even.
func Solve(in Input) Plan {
	s := newState(&in)
	s.solve()
	return s.plan
}

func (s *state) solve() {
	s.place()
	s.fill()
	s.trim()
	s.repair()
	s.drain()
	s.prefer()
	s.preferByPolicy()
	s.balance()
	s.plan.Moves = slices.DeleteFunc(s.plan.Moves, func(m Move) bool { return m.Kind == 0 }) // what was withdrawn
}

// place finds primaries for shards that have none; no cap holds it back.
func (s *state) place() {
	if !s.in.Policy.Primary {
		return
	}
	var list []int
	for i := range s.in.Shards {
		switch sh := &s.in.Shards[i]; {
		case sh.Pinned || s.primaryOf(i) >= 0:
		case sh.Backoff:
			s.stuck(i, Grant, -1, placing(sh), bindsQuarantine, whyQuarantine)
		default:
			list = append(list, i)
		}
	}
	for _, i := range s.ordered(list) {
		if slices.ContainsFunc(s.replicas[i], func(r replica) bool { return r.settled && !r.leaving }) {
			s.failOver(i)
			continue
		}
		q := s.quest(i, -1, shard.Primary)
		reason := placing(&s.in.Shards[i])
		to, width := s.home(q)
		if to >= 0 {
			s.put(i, to, Grant, reason, s.whyHere(i, to, width, ""))
			continue
		}
		if k := s.fresh(i); k >= 0 {
			s.grantHere(i, k, Grant, reason, fmt.Sprintf("%s has a replica that is not in sync, and no other server has room", s.serverID(s.replicas[i][k].on)))
			continue
		}
		binds, why := s.binds(q)
		s.stuck(i, Grant, -1, reason, binds, why)
	}
}

const (
	bindsQuarantine = "quarantine"
	whyQuarantine   = "servers died of the shard: it is neither placed nor moved until `shardmanager quarantine release` lets it"
)

func placing(sh *Shard) Reason {
	if sh.Urgent {
		return Failover
	}
	return Place
}

// failOver promotes the best heir.
func (s *state) failOver(i int) {
	reason := placing(&s.in.Shards[i])
	best := s.heir(i, -1, func(server int) bool { return s.primaryFits(server) })
	switch {
	case best >= 0:
		to := s.replicas[i][best].on
		s.grantHere(i, best, Promote, reason, fmt.Sprintf("%s has a replica in sync, and %d primaries", s.serverID(to), s.primariesAt(to)))
	case s.heir(i, -1, everywhere) >= 0:
		s.stuck(i, Promote, -1, reason, bindsCapacity+MetricPrimaries, "no server with a replica in sync has room for one more primary")
	case slices.ContainsFunc(s.replicas[i], func(r replica) bool { return r.movable() }):
		s.stuck(i, Promote, -1, reason, bindsAvoid, "callbacks for it failed lately at every server with a replica in sync")
	default:
		s.stuck(i, Promote, -1, reason, "moving", "the replica in sync is being moved")
	}
}

// primariesAt is how many primaries a server will have; 0 where nothing depends on it.
func (s *state) primariesAt(server int) int64 {
	if s.primaries < 0 {
		return 0
	}
	return s.settled[server][s.primaries]
}

// primaryFits reports whether a server that has a secondary has room for one more primary.
func (s *state) primaryFits(server int) bool {
	if s.primaries < 0 {
		return true
	}
	return s.charged[server][s.primaries] < s.capacity[server][s.primaries]
}

// fresh is a replica on a server that accepts which is not in sync and can only be made primary as if it were new; −1: none.
func (s *state) fresh(i int) int {
	return slices.IndexFunc(s.replicas[i], func(r replica) bool {
		return r.on >= 0 && r.at == r.on && !r.leaving && s.in.Servers[r.on].Accepts && !s.avoids(i, r.on) && s.primaryFits(r.on)
	})
}

// fill adds the replicas that are missing; no cap holds it back.
func (s *state) fill() {
	var list []int
	for i := range s.in.Shards {
		sh := &s.in.Shards[i]
		switch missing := s.in.Wanted(i) - s.count(i); {
		case missing <= 0 || s.held(i):
		case sh.Backoff:
			for range missing {
				s.stuck(i, Add, -1, Replicas, bindsQuarantine, whyQuarantine)
			}
		default:
			list = append(list, i)
		}
	}
	for _, i := range s.ordered(list) {
		for missing := s.in.Wanted(i) - s.count(i); missing > 0; missing-- {
			q := s.quest(i, -1, shard.Secondary)
			to, width := s.home(q)
			if to >= 0 {
				s.put(i, to, Add, Replicas, s.whyHere(i, to, width, ""))
				continue
			}
			binds, why := s.binds(q)
			for range missing {
				s.stuck(i, Add, -1, Replicas, binds, why)
			}
			break
		}
	}
}

// whyHere explains a place that home found.
func (s *state) whyHere(i, to int, width locality.Domain, before string) string {
	apart := ""
	if s.count(i) > 0 && s.in.Policy.Replicas > 1 {
		apart = fmt.Sprintf(" in another %s than its other replicas", width)
	}
	return fmt.Sprintf("%s%s is the least utilised server with room%s: %d %% of its fair share before", before, s.serverID(to), apart, s.utilisation(to))
}

// ordered sorts shards for greedy placement: urgent ones, large ones, choosy ones first.
func (s *state) ordered(list []int) []int {
	size := make([]int64, len(s.in.Shards))
	for _, i := range list {
		for m, l := range s.base[i] {
			if s.average[m] > 0 {
				size[i] = max(size[i], load.MulDiv(l, fair, s.average[m]))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		x, y := &s.in.Shards[a], &s.in.Shards[b]
		return cmp.Or(cmp.Compare(placing(y), placing(x)), cmp.Compare(size[b], size[a]), cmp.Compare(len(y.Avoid), len(x.Avoid)), cmp.Compare(x.Index, y.Index))
	})
	return list
}

// trim drops replicas beyond the wanted number, once all that would be left are settled.
func (s *state) trim() {
	for i := range s.in.Shards {
		if s.held(i) || s.moved[i] {
			continue
		}
		for s.count(i) > s.in.Wanted(i) {
			k := s.leastMissed(i)
			if k < 0 {
				break
			}
			r := s.replicas[i][k]
			s.drop(i, k, fmt.Sprintf("%d replicas, %d wanted; the one on %s is missed least", s.count(i), s.in.Wanted(i), s.serverID(r.on)))
		}
	}
}

// leastMissed is the secondary whose end costs least: one that is not in sync, on a server that is to be left, near others, on the
// fullest server. −1: none may go, because others are not in sync yet or its region needs it.
func (s *state) leastMissed(i int) int {
	best, unsettled := -1, 0
	for k := range s.replicas[i] {
		if r := &s.replicas[i][k]; !r.leaving && !r.settled {
			unsettled++
		}
	}
	cost := func(k int) []int64 {
		r := &s.replicas[i][k]
		c := []int64{0, 0, int64(s.alone(i, k)), -s.score(r.on, shard.Secondary)}
		if r.settled {
			c[0] = 1
		}
		if s.in.Servers[r.on].Accepts {
			c[1] = 1
		}
		return c
	}
	for k := range s.replicas[i] {
		r := &s.replicas[i][k]
		if r.leaving || r.role == shard.Primary || r.on < 0 || r.at != r.on || r.move >= 0 || !s.spare(i, k) || (r.settled && unsettled > 0) {
			continue
		}
		if best < 0 || slices.Compare(cost(k), cost(best)) < 0 {
			best = k
		}
	}
	return best
}
