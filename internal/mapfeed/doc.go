// Package mapfeed carries shard maps from the leader to everybody who routes: a Hub serves them, a Follower follows them over the
// network, and a Cache keeps the last one on disk for a start without a control plane.
//
// The chain is leader → other allocators → agents → routers; each link but the last is a Follower that feeds a Hub. Invariants:
//
//   - versions only grow: at no link does an older map replace a newer one, and a newer epoch's map always does (PROTOCOL R23);
//   - a watcher sees every version's changes in order, or a whole map instead of those that it missed;
//   - each link says how long ago it heard of the leader, and a follower that has a choice goes where that is not long, but stays with an old
//     map where it has none (promise 7);
//   - memory is bounded whatever the watchers do: they read from one short history, and whoever falls out of it gets the whole map.
//
// Called by the shells (allocator, agent, sdk). It decides nothing about placement and never makes versions of its own.
package mapfeed

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Update is one change of an app's map.
type Update struct {
	Map   *shard.Map   // the map after the change
	Delta *shard.Delta // what changed; nil: anything may have
}

// Delay is how long a change was on its way from the leader, by the clocks of both hosts; false: it is not known, as of whole maps. For metrics
// only: clocks that differ by more show as 0, or as so much longer.
func (u Update) Delay(now time.Time) (time.Duration, bool) {
	if u.Delta == nil || u.Delta.PublishedMS == 0 {
		return 0, false
	}
	return max(0, now.Sub(time.UnixMilli(u.Delta.PublishedMS))), true
}
