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

// mover counts what moves.
type mover struct {
	tally  *tally.Tally // of the input after the changes: servers, loads and policies stay as they are
	costs  []tally.Cost
	shards map[shard.Index]int
	groups map[string]int // of those that were somewhere
}

// moved counts a replica of a shard that begins on another server; from -1: it was nowhere, and costs nothing.
func (m *mover) moved(in *placement.Input, i int, role shard.Role, from, to int) {
	m.shards[in.Shards[i].Index]++
	if from < 0 || to < 0 {
		return
	}
	m.groups[groupOf(in, i)]++
	for _, c := range m.tally.Moved(i, role, from, to) {
		at := slices.IndexFunc(m.costs, func(o tally.Cost) bool { return o.Tier == c.Tier && o.Goal == c.Goal })
		if at < 0 {
			m.costs = append(m.costs, c)
			continue
		}
		m.costs[at].Amount = load.Plus(m.costs[at].Amount, c.Amount)
	}
}

// all is what all moves cost.
func (m *mover) all() []tally.Cost {
	most := 0
	for _, n := range m.groups {
		most = max(most, n)
	}
	return append(m.costs, m.tally.MostMoved(int64(most))...)
}

// most tells what moved most; of equals the first.
func (m *mover) most(in *placement.Input, r *Result) {
	groups := map[string]int{}
	for i := range in.Shards {
		n := m.shards[in.Shards[i].Index]
		if n > r.MostMoves {
			r.MostShard, r.MostMoves = in.Shards[i].ID, n
		}
		groups[groupOf(in, i)] += n
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if groups[name] > r.GroupMoves {
			r.MostGroup, r.GroupMoves = name, groups[name]
		}
	}
}

func groupOf(in *placement.Input, i int) string {
	if in.Terms == nil {
		return string(in.App)
	}
	return cmp.Or(in.Terms.Classes[in.Terms.Of[i]].Group, string(in.App))
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
