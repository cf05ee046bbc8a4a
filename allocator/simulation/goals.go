package simulation

import (
	"cmp"
	"maps"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Goal is what a goal costs before and after, by the policy that holds after the changes.
type Goal struct {
	Tier          int // as tally.Cost has it
	Name          string
	Unit          tally.Unit
	Before, After int64
	// Of how many replicas a cost is the sum, so that a mean can be told; 0: it is no such sum.
	CountedBefore, CountedAfter int64
}

// Most is what moves most: the shard, and the group of shards that policies name, of which most replicas begin on another server.
type Most struct {
	Shard      shard.ID
	Moves      int
	Group      string
	GroupMoves int
}

// mover counts what moves.
type mover struct {
	tally  *tally.Tally // of the input after the changes: servers, loads and policies stay as they are
	costs  []tally.Cost
	shards map[shard.Index]int
}

// moved counts a replica of a shard that begins on another server; from -1: it was nowhere, and costs nothing.
func (m *mover) moved(in *placement.Input, i int, role shard.Role, from, to int) {
	m.shards[in.Shards[i].Index]++
	if from < 0 || to < 0 {
		return
	}
	for _, c := range m.tally.Moved(i, role, from, to) {
		at := slices.IndexFunc(m.costs, func(o tally.Cost) bool { return o.Tier == c.Tier && o.Goal == c.Goal })
		if at < 0 {
			m.costs = append(m.costs, c)
			continue
		}
		m.costs[at].Amount = load.Plus(m.costs[at].Amount, c.Amount)
	}
}

// most is what moved most; of equals the first.
func (m *mover) most(in *placement.Input) (most Most) {
	groups := map[string]int{}
	for i := range in.Shards {
		n := m.shards[in.Shards[i].Index]
		if n > most.Moves {
			most.Shard, most.Moves = in.Shards[i].ID, n
		}
		groups[groupOf(in, i)] += n
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if groups[name] > most.GroupMoves {
			most.Group, most.GroupMoves = name, groups[name]
		}
	}
	return most
}

func groupOf(in *placement.Input, i int) string {
	if in.Terms == nil {
		return string(in.App)
	}
	return cmp.Or(in.Terms.Classes[in.Terms.Of[i]].Group, string(in.App))
}

// compared is what the goals cost before and after.
func compared(before, after *tally.Tally, moves []tally.Cost) (list []Goal) {
	was, is := before.Totals(), append(after.Totals(), moves...)
	find := func(costs []tally.Cost, c tally.Cost) (tally.Cost, bool) {
		at := slices.IndexFunc(costs, func(o tally.Cost) bool { return o.Tier == c.Tier && o.Goal == c.Goal })
		if at < 0 {
			return tally.Cost{}, false
		}
		return costs[at], true
	}
	for _, c := range is {
		b, _ := find(was, c)
		list = append(list, Goal{c.Tier, c.Goal, c.Unit, b.Amount, c.Amount, before.Counted(c), after.Counted(c)})
	}
	for _, c := range was {
		if _, still := find(is, c); !still {
			list = append(list, Goal{c.Tier, c.Goal, c.Unit, c.Amount, 0, before.Counted(c), 0})
		}
	}
	slices.SortStableFunc(list, func(a, b Goal) int { return cmp.Compare(a.Tier, b.Tier) })
	return list
}

// regional are the metrics that a policy balances in each region by itself.
func regional(t *terms.Terms) map[string]bool {
	metrics := map[string]bool{}
	if t == nil {
		return metrics
	}
	for c := range t.Classes {
		for _, g := range t.Classes[c].Goals {
			if g.Kind == terms.Balance && g.Regional {
				metrics[g.Metric] = true
			}
		}
	}
	return metrics
}
