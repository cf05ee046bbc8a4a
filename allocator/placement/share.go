package placement

import "github.com/shardmanager/shardmanager/internal/load"

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
	for m := range n {
		limited := s.everyoneLimits(m)
		weight := func(server int) int64 {
			switch {
			case !s.in.Servers[server].Accepts:
				return 0
			case limited:
				return max(0, s.capacity[server][m])
			}
			return 1
		}
		if !byRank || !s.follows(m) {
			s.divide(m, total[m], s.where.Order, weight)
			continue
		}
		servers, here := make([][]int, len(s.where.Ranks)), load.Vectors(len(s.where.Ranks), 1)
		for server := range s.in.Servers {
			if rank := s.where.Rank(server); weight(server) > 0 {
				servers[rank] = append(servers[rank], server)
				here[rank].Add(s.settled[server][m : m+1])
			}
		}
		for rank := range servers {
			s.divide(m, here[rank][0], servers[rank], weight)
		}
	}
}

// divide shares out one metric among some servers.
func (s *state) divide(m int, total int64, servers []int, weight func(server int) int64) {
	sum := make(load.Vector, 1)
	for _, server := range servers {
		sum.Add(load.Vector{weight(server)})
	}
	for _, server := range servers {
		if w := weight(server); w > 0 {
			s.share[server][m] = max(1, load.MulDiv(total, w, sum[0]))
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
		for ; count < s.in.Policy.Replicas; count++ {
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

func (s *state) everyoneLimits(m int) bool {
	for i, server := range s.in.Servers {
		if server.Accepts && s.capacity[i][m] == load.Unlimited {
			return false
		}
	}
	return true
}
