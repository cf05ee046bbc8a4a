// Package promotions evens out how many primaries servers have by letting secondaries in sync take over, which moves no state.
package promotions

import (
	"github.com/shardmanager/shardmanager/internal/load"
)

// Fair is a relative load of 1: a server that has exactly its share.
const Fair = 1_000_000

// Server is one that has primaries, or could.
type Server struct {
	Has      int64 // primaries, when all moves are done
	Charged  int64 // with those that leave
	Capacity int64
	Share    int64 // 0: it takes no part
	Group    int   // it is compared with those of its group
	Moves    int   // that it may still have
}

// Shard is one whose primary may become a secondary.
type Shard struct {
	Primary int   // server
	Heirs   []int // servers with a replica that may take over
}

// Promotion makes the heir with that number the primary of a shard. High and Low are the relative loads that its servers had.
type Promotion struct {
	Shard, Heir int
	High, Low   int64
}

// Even lowers, again and again, the server with the most primaries that a promotion can lower, by at most so many promotions. Each makes the sorted list
// of all numbers smaller (the largest falls, and none rises to where it was), so it ends, and two calls never undo each other. Servers are adjusted.
func Even(servers []Server, shards []Shard, tolerance int64, most int) (list []Promotion) {
	on, spent, progress := make([][]int, len(servers)), make([]bool, len(servers)), false
	for i, sh := range shards {
		on[sh.Primary] = append(on[sh.Primary], i)
	}
	taken := make([]bool, len(shards))
	for len(list) < most {
		server := fullest(servers, on, spent, tolerance)
		if server < 0 {
			if !progress {
				break
			}
			progress = false // what was promoted may have made room for what was stuck before
			clear(spent)
			continue
		}
		p, ok := lower(servers, shards, on[server], taken, tolerance)
		if !ok {
			spent[server] = true
			continue
		}
		progress, taken[p.Shard] = true, true
		from, to := &servers[server], &servers[shards[p.Shard].Heirs[p.Heir]]
		from.Has--
		to.Has, to.Charged = to.Has+1, to.Charged+1
		from.Moves, to.Moves = from.Moves-1, to.Moves-1
		list = append(list, p)
	}
	return list
}

func (s *Server) relative() int64 { return load.MulDiv(s.Has, Fair, s.Share) }

// fullest is the server with the most primaries, for its share, that was not given up and is above the one of its group with the fewest by more than the
// tolerance, or has more than it can take; −1: there is none.
func fullest(servers []Server, on [][]int, spent []bool, tolerance int64) int {
	least := map[int]int64{}
	for i := range servers {
		if s := &servers[i]; s.Share > 0 {
			if v, ok := least[s.Group]; !ok || s.relative() < v {
				least[s.Group] = s.relative()
			}
		}
	}
	best, most := -1, int64(-1)
	for i := range servers {
		s := &servers[i]
		if len(on[i]) == 0 || spent[i] || s.Moves <= 0 || s.Share == 0 {
			continue
		}
		if r := s.relative(); r > most && (s.Has > s.Capacity || r-least[s.Group] > tolerance) {
			best, most = i, r
		}
	}
	return best
}

// lower is the promotion of one of some shards, all with their primary on one server, to the server that has least.
func lower(servers []Server, shards []Shard, list []int, taken []bool, tolerance int64) (best Promotion, found bool) {
	from := &servers[shards[list[0]].Primary]
	high := from.relative()
	least := high - tolerance
	for _, i := range list {
		if taken[i] {
			continue
		}
		for k, server := range shards[i].Heirs {
			to := &servers[server]
			if to.Moves <= 0 || to.Charged >= to.Capacity || to.Group != from.Group || to.Share == 0 {
				continue
			}
			if now := to.relative(); now < least && load.MulDiv(to.Has+1, Fair, to.Share) < high {
				best, found, least = Promotion{Shard: i, Heir: k, High: high, Low: now}, true, now
			}
		}
	}
	return best, found
}
