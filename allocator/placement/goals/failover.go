package goals

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
)

// failover counts the primaries of a class, or all its replicas if it has none, that one domain would take over from another beyond a fair part.
func (s *stated) failover(class int, g *terms.Goal, goal problem.Goal) {
	level := s.level(g.Spread.Over)
	at := slices.IndexFunc(s.Problem.Failovers, func(f problem.Failover) bool { return f.Level == level && f.Goal == goal })
	if at < 0 {
		at = len(s.Problem.Failovers)
		s.Problem.Failovers = append(s.Problem.Failovers, problem.Failover{Level: level, Lead: make([]bool, s.Problem.Replicas), Goal: goal})
	}
	f := &s.Problem.Failovers[at]
	led := slices.ContainsFunc(s.ofClass[class], func(i int32) bool { return s.Task.Replicas[i].Primary })
	for _, i := range s.ofClass[class] {
		f.Lead[i] = !led || s.Task.Replicas[i].Primary
	}
}

// shareFailovers says what part is fair: what is taken over from a domain now, or from a domain on average if that is more, divided by the others that
// take replicas, rounded up.
func (s *stated) shareFailovers() {
	for k := range s.Problem.Failovers {
		f := &s.Problem.Failovers[k]
		domain := s.Problem.Domains[f.Level]
		open := map[int32]bool{}
		for i, d := range domain {
			if s.Task.Servers[i].Accepts {
				open[d] = true
			}
		}
		pairs, total := make([]int64, slices.Max(domain)+1), int64(0)
		s.eachPair(f, func(a int32) {
			pairs[a]++
			total++
		})
		mean := ceil(total, int64(len(open)))
		for d, n := range pairs {
			others := int64(len(open))
			if open[int32(d)] {
				others--
			}
			f.Fair = append(f.Fair, max(1, ceil(max(n, mean), others)))
		}
		f.Weight = bounded(f.Weight, total*min(total, problem.MaxUnits))
	}
}

// eachPair yields the domains of replicas that lead, once for each other one of their group that is in another domain.
func (s *stated) eachPair(f *problem.Failover, yield func(domain int32)) {
	domain := s.Problem.Domains[f.Level]
	for from := 0; from < len(s.Task.Replicas); {
		to := from + 1
		for to < len(s.Task.Replicas) && s.Task.Replicas[to].Group == s.Task.Replicas[from].Group {
			to++
		}
		for r := from; r < to; r++ {
			for q := from; q < to; q++ {
				if a, b := domain[s.Task.Replicas[r].At], domain[s.Task.Replicas[q].At]; f.Lead[r] && a != b {
					yield(a)
				}
			}
		}
		from = to
	}
}

func ceil(n, by int64) int64 { return (n + max(by, 1) - 1) / max(by, 1) }
