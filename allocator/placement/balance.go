package placement

import (
	"fmt"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// balance evens out how many primaries servers have, by promotions, which move no state, and then what loads them, by moves. A promotion changes no
// load but the number of primaries, so the next plan has no reason to undo a move.
func (s *state) balance() {
	if len(s.where.Ranks) > 0 {
		s.shareOut(true)
		for server := range s.in.Servers {
			s.refresh(server)
		}
	}
	if s.primaries >= 0 && s.in.Policy.Replicas > 1 && !s.planned {
		s.evenPrimaries()
	}
	s.even()
}

// evenPrimaries lowers, again and again, the server with the most primaries that a promotion can lower. Every promotion makes the sorted list
// of all numbers smaller (the largest falls, and none rises to where it was), so it ends, and two solves never undo each other.
func (s *state) evenPrimaries() {
	on := make([][]ref, len(s.in.Servers))
	for i := range s.in.Shards {
		if k := s.primaryOf(i); k >= 0 && !s.restless(i) && s.replicas[i][k].movable() && s.in.Servers[s.replicas[i][k].on].Accepts {
			on[s.replicas[i][k].on] = append(on[s.replicas[i][k].on], ref{i, k})
		}
	}
	spent, progress := make([]bool, len(s.in.Servers)), false
	for !s.full() {
		server := s.mostPrimaries(on, spent)
		switch {
		case server >= 0 && s.lowerPrimaries(server, on[server]):
			progress = true
		case server >= 0:
			spent[server] = true
		case !progress:
			return
		default: // what was promoted may have made room for what was stuck before
			progress = false
			clear(spent)
		}
	}
}

// mostPrimaries is the server with the most primaries, for its share, that was not given up and is above the one with the fewest by more than
// the tolerance; −1: there is none.
func (s *state) mostPrimaries(on [][]ref, spent []bool) int {
	least := s.lowest(s.primaries)
	best, most := -1, int64(-1)
	for server := range s.in.Servers {
		if len(on[server]) == 0 || spent[server] || s.capped(server) || s.share[server][s.primaries] == 0 {
			continue
		}
		over := s.settled[server][s.primaries] > s.capacity[server][s.primaries]
		if r := s.relative(server, s.primaries); r > most && (over || r-least[s.group(server, s.primaries)] > s.tolerance()) {
			best, most = server, r
		}
	}
	return best
}

// lowerPrimaries lets a secondary elsewhere take over a primary: no state moves for the sake of the number of primaries.
func (s *state) lowerPrimaries(from int, on []ref) bool {
	m := s.primaries
	high := s.relative(from, m)
	best, to, least := ref{i: -1}, -1, high-s.tolerance()
	for _, r := range on {
		if s.replicas[r.i][r.k].role != shard.Primary || s.moved[r.i] {
			continue // in the plan already
		}
		for k := range s.replicas[r.i] {
			o := &s.replicas[r.i][k]
			if k == r.k || !o.movable() || s.capped(o.on) || !s.in.Servers[o.on].Accepts || s.avoids(r.i, o.on) || !s.primaryFits(o.on) ||
				s.group(o.on, m) != s.group(from, m) || s.in.Terms.Rooted(r.i) && s.where.InRegion[o.on] != s.where.InRegion[from] {
				continue
			}
			share, now := s.share[o.on][m], s.relative(o.on, m)
			if share > 0 && now < least && load.MulDiv(s.settled[o.on][m]+1, fair, share) < high {
				best, to, least = r, k, now
			}
		}
	}
	if best.i < 0 {
		return false
	}
	server := s.replicas[best.i][to].on
	low := s.relative(server, m)
	s.promote(best.i, best.k, to, Balance, "")
	s.plan.Decisions[len(s.plan.Decisions)-1].Why = s.whyBalance(m, from, server, high, low)
	return true
}

// whyBalance explains a move by what two servers had of a metric, and have.
func (s *state) whyBalance(m, from, to int, high, low int64) string {
	return fmt.Sprintf("%s: %s from %d %% to %d %% of its fair share, %s from %d %% to %d %%", s.metrics.Name(m),
		s.serverID(from), percent(high), percent(s.relative(from, m)), s.serverID(to), percent(low), percent(s.relative(to, m)))
}

func percent(relative int64) int64 { return (relative + fair/200) / (fair / 100) }
