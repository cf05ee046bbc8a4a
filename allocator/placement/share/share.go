// Package share says what fair parts of a load servers have.
package share

import (
	"slices"

	"github.com/shardmanager/shardmanager/internal/load"
)

// Weights are the parts that servers take of a metric: their capacities where all that take part limit it, else all alike. 0 is no part.
func Weights(capacity []int64, takesPart func(server int) bool) []int64 {
	list := make([]int64, len(capacity))
	limited := true
	for server, c := range capacity {
		limited = limited && (c != load.Unlimited || !takesPart(server))
	}
	for server, c := range capacity {
		switch {
		case !takesPart(server):
		case limited:
			list[server] = max(0, c)
		default:
			list[server] = 1
		}
	}
	return list
}

// Divide shares out what each group of servers has among its servers. Who takes a part has at least 1.
func Divide(totals, weights []int64, group func(server int) int) []int64 {
	sums, list := make([]int64, len(totals)), slices.Clone(weights)
	for server, w := range weights {
		sums[group(server)] = load.Plus(sums[group(server)], w)
	}
	for server, w := range weights {
		if w > 0 {
			list[server] = max(1, load.MulDiv(totals[group(server)], w, sums[group(server)]))
		}
	}
	return list
}

// All is the one group of all servers.
func All(int) int { return 0 }
