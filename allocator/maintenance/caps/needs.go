package caps

import (
	"fmt"

	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Spares says whether servers may go for good: whether those that are left have places for what their apps must have; an empty refusal: they have.
// What was missing before is no reason.
func (v *View) Spares(going map[shard.ServerID]bool) Refusal {
	for _, app := range shard.SortedKeys(v.Needs) {
		needs := v.Needs[app]
		for _, region := range shard.SortedKeys(needs.Regions) {
			now, then := v.places(app, region, going)
			if n := needs.Regions[region]; then < n && then < now {
				return Refusal{fmt.Sprintf("app %s: region_replicas asks for %d replicas of each shard in %s, and it would leave %d %ss there; ask for fewer, or add servers there first", app, n, region,
					then, needs.width()), true}
			}
		}
		if now, then := v.places(app, "", going); then < needs.Replicas && then < now {
			return Refusal{fmt.Sprintf("app %s: each shard has %d replicas or more, each in a %s of its own, and it would leave %d %ss; ask for fewer, or add servers first", app, needs.Replicas,
				needs.width(), then, needs.width()), true}
		}
	}
	return Refusal{}
}

func (n *Needs) width() locality.Domain { return max(n.Spread, locality.Host) }

// places is how many replicas of a shard there is a place for, in a region or in all of them, now and once servers are gone.
func (v *View) places(app shard.App, region string, going map[shard.ServerID]bool) (now, then int) {
	needs := v.Needs[app]
	var all, left []shard.Locality
	for i := range v.Servers {
		s := &v.Servers[i]
		if s.App != app || region != "" && s.Locality.Region != region {
			continue
		}
		if all = append(all, s.Locality); !going[s.ID] {
			left = append(left, s.Locality)
		}
	}
	return locality.Count(all, needs.width()), locality.Count(left, needs.width())
}
