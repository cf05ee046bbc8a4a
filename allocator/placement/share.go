package placement

import (
	"github.com/shardmanager/shardmanager/allocator/placement/share"
	"github.com/shardmanager/shardmanager/internal/load"
)

// shareOut gives every accepting server its fair share of all that should end up on accepting servers: by capacity where all of them
// limit the metric, else equally. With byRank, what follows the primaries into regions that they prefer is shared out among the servers
// of equally preferred regions only: between the others the preference decides, not the balance.
func (s *state) shareOut(byRank bool) {
	n := s.metrics.Len()
	s.average = make(load.Vector, n)
	for i := range s.in.Shards {
		s.average.Add(s.base[i])
	}
	for m := range n {
		s.average[m] = load.MulDiv(s.average[m], 1, int64(max(1, len(s.in.Shards))))
	}
	if s.primaries >= 0 {
		s.average[s.primaries] = 1
	}
	s.share = load.Vectors(len(s.in.Servers), n)
	total := s.total()
	accepts := func(server int) bool { return s.in.Servers[server].Accepts }
	capacity := make([]int64, len(s.in.Servers))
	for m := range n {
		for server := range capacity {
			capacity[server] = s.capacity[server][m]
		}
		weights, totals, group := share.Weights(capacity, accepts), []int64{total[m]}, share.All
		if byRank && s.follows(m) {
			totals, group = make([]int64, len(s.where.Ranks)), s.where.Rank
			for server, w := range weights {
				if w > 0 {
					totals[group(server)] = load.Plus(totals[group(server)], s.settled[server][m])
				}
			}
		}
		for server, v := range share.Divide(totals, weights, group) {
			s.share[server][m] = v
		}
	}
}

// total is all load that should end up on accepting servers, replicas that are still missing included.
func (s *state) total() load.Vector {
	total := make(load.Vector, s.metrics.Len())
	for i := range s.in.Shards {
		count, primary := 0, false
		for k := range s.replicas[i] {
			r := &s.replicas[i][k]
			if r.leaving {
				continue
			}
			count, primary = count+1, primary || s.primaryOf(i) == k
			if r.at < 0 || s.in.Servers[r.at].Accepts || s.in.Servers[r.at].Leaving {
				total.Add(s.load(i, r.role))
			}
		}
		for ; count < s.in.Wanted(i); count++ {
			total.Add(s.base[i])
		}
		if s.primaries >= 0 && s.in.Policy.Primary && !primary {
			total[s.primaries]++
		}
	}
	return total
}

// follows reports whether a metric is where the primaries are, so that the regions that they prefer decide about it.
func (s *state) follows(m int) bool {
	return len(s.where.Ranks) > 0 && (m == s.primaries || s.in.Policy.Replicas <= 1)
}
