package placement

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/placement/promotions"
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

// evenPrimaries lets secondaries take over from servers with many primaries.
func (s *state) evenPrimaries() {
	m := s.primaries
	servers := make([]promotions.Server, len(s.in.Servers))
	for i := range servers {
		servers[i] = promotions.Server{Has: s.settled[i][m], Charged: s.charged[i][m], Capacity: s.capacity[i][m], Share: s.share[i][m], Group: s.group(i, m),
			Moves: s.in.Policy.MovesPerServer - s.moves[i]}
	}
	var shards []promotions.Shard
	var primaries []ref
	var heirs [][]int
	for i := range s.in.Shards {
		k := s.primaryOf(i)
		if k < 0 || s.restless(i) || !s.replicas[i][k].movable() || !s.in.Servers[s.replicas[i][k].on].Accepts {
			continue
		}
		sh, list := promotions.Shard{Primary: s.replicas[i][k].on}, []int(nil)
		for j := range s.replicas[i] {
			if o := &s.replicas[i][j]; j != k && o.movable() && s.in.Servers[o.on].Accepts && !s.avoids(i, o.on) && s.alike(i, s.replicas[i][k].on, o.on) {
				sh.Heirs, list = append(sh.Heirs, o.on), append(list, j)
			}
		}
		if len(list) > 0 {
			shards, primaries, heirs = append(shards, sh), append(primaries, ref{i, k}), append(heirs, list)
		}
	}
	for _, p := range promotions.Even(servers, shards, s.tolerance(), s.in.Policy.Moves-s.open) {
		r, sh := primaries[p.Shard], &shards[p.Shard]
		s.promote(r.i, r.k, heirs[p.Shard][p.Heir], Balance, "")
		s.plan.Decisions[len(s.plan.Decisions)-1].Why = s.whyBalance(m, sh.Primary, sh.Heirs[p.Heir], p.High, p.Low)
	}
}

// whyBalance explains a move by what two servers had of a metric, and have.
func (s *state) whyBalance(m, from, to int, high, low int64) string {
	return fmt.Sprintf("%s: %s from %d %% to %d %% of its fair share, %s from %d %% to %d %%", s.metrics.Name(m),
		s.serverID(from), percent(high), percent(s.relative(from, m)), s.serverID(to), percent(low), percent(s.relative(to, m)))
}

func percent(relative int64) int64 { return (relative + fair/200) / (fair / 100) }
