package goals

import (
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
)

// tiers are those of a problem: the unplaced, servers that are to be left, preferred regions of the spec, the tiers of the policies in their order, and what
// every app has.
type tiers struct {
	of       map[int]int // by tier of the policies
	names    []string    // by tier of the problem, for people
	kinds    []Kind      // likewise
	balanced map[string]bool
	moved    bool // a policy says what moves cost

	drain     int
	preferred int // meaningless where no replica is ranked
	apart     int
	// First above the share: that is where load is felt. Ties are metrics that are worth no move.
	above, below, movement, ties int
	count                        int
}

func tiersOf(t *terms.Terms, ranked bool) tiers {
	s := tiers{of: map[int]int{}, names: []string{"unplaced", "drain"}, kinds: []Kind{Broken, Drain}, drain: 1, balanced: map[string]bool{}}
	if ranked {
		s.preferred = len(s.names)
		s.names, s.kinds = append(s.names, "preferred regions"), append(s.kinds, Wanted)
	}
	first := len(s.names)
	names, kinds := map[int][]string{}, map[int]Kind{}
	if t != nil {
		for i := range t.Classes {
			for _, g := range t.Classes[i].Goals {
				s.note(g)
				if _, known := kinds[g.Tier]; !known {
					kinds[g.Tier] = kindOf(g.Kind)
				}
				if !slices.Contains(names[g.Tier], g.Name) {
					names[g.Tier] = append(names[g.Tier], g.Name)
				}
			}
		}
	}
	for tier := range names {
		s.of[tier] = 0
	}
	for tier := 1; len(s.names) < first+len(names); tier++ {
		if _, used := s.of[tier]; used {
			s.of[tier] = len(s.names)
			s.names, s.kinds = append(s.names, strings.Join(names[tier], ", ")), append(s.kinds, kinds[tier])
		}
	}
	s.apart = len(s.names)
	s.above, s.below, s.movement, s.ties = s.apart+1, s.apart+2, s.apart+3, s.apart+4
	s.names, s.kinds = append(s.names, "spread", "balance", "balance", "movement", "balance"), append(s.kinds, Apart, Balance, Balance, Balance, Balance)
	s.count = len(s.names)
	return s
}

func kindOf(k terms.Kind) Kind {
	switch k {
	case terms.Balance, terms.Utilization:
		return Balance
	case terms.Apart:
		return Apart
	case terms.Preference, terms.Drain, terms.Latency, terms.Cost, terms.Failover, terms.Movement:
	}
	return Wanted
}

// note keeps what a goal leaves for nobody else to say.
func (s *tiers) note(g terms.Goal) {
	switch {
	case g.Kind == terms.Balance && g.Other == "":
		s.balanced[g.Metric] = true
	case g.Kind == terms.Movement:
		s.moved = true
	}
}
