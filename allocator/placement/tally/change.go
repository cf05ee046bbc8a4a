package tally

import (
	"cmp"
	"slices"
)

// Change is what a goal costs before and after.
type Change struct {
	Tier          int // as Cost has it
	Goal          string
	Unit          Unit
	Before, After int64
	// Of how many replicas, or shards, a cost is the sum, so that a mean can be told; 0: it is no such sum.
	CountedBefore, CountedAfter int64
}

// Changes compares what the goals cost before and after moves that cost so much, the most important first.
func Changes(before, after *Tally, moves []Cost) (list []Change) {
	was, is := before.Totals(), after.Totals()
	find := func(costs []Cost, c Cost) (Cost, bool) {
		at := slices.IndexFunc(costs, func(o Cost) bool { return o.Tier == c.Tier && o.Goal == c.Goal })
		if at < 0 {
			return Cost{}, false
		}
		return costs[at], true
	}
	for _, c := range is {
		b, _ := find(was, c)
		if m, moved := find(moves, c); moved {
			c.Amount = m.Amount
		}
		list = append(list, Change{c.Tier, c.Goal, c.Unit, b.Amount, c.Amount, before.counted(c), after.counted(c)})
	}
	for _, c := range was {
		if _, still := find(is, c); !still {
			list = append(list, Change{c.Tier, c.Goal, c.Unit, c.Amount, 0, before.counted(c), 0})
		}
	}
	slices.SortStableFunc(list, func(a, b Change) int { return cmp.Compare(a.Tier, b.Tier) })
	return list
}
