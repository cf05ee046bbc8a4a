package maintenance

import (
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// absentees are servers of open events that the fleet does not know: they restart, or are over. They are down, and only who was there before knows
// where they stood.
type absentees struct {
	since map[shard.ServerID]shard.Instant
	stood map[shard.ServerID]shard.Locality
}

// whyAbsent is why an absentee counts as down.
const whyAbsent = "not there"

// complete is a view with the servers that open events cover and it lacks. Where one stood is not known to a new leader: it counts in every region then.
func (b *Book) complete(now shard.Instant, view *caps.View) *caps.View {
	was, whole := b.absent, *view
	b.absent = absentees{since: map[shard.ServerID]shard.Instant{}, stood: map[shard.ServerID]shard.Locality{}}
	for _, id := range b.expected() {
		at, known := was.stood[id]
		if s := view.Find(id); s != nil {
			at, known = s.Locality, true
		} else {
			since := now
			if begun, ok := was.since[id]; ok {
				since = begun
			}
			b.absent.since[id] = since
			whole.Servers = append(slices.Clip(whole.Servers), caps.Server{ID: id, App: id.App(), Locality: at, Everywhere: !known, Down: whyAbsent})
		}
		if known {
			b.absent.stood[id] = at
		}
	}
	if len(b.absent.since) == 0 {
		return view
	}
	slices.SortFunc(whole.Servers, func(x, y caps.Server) int { return strings.Compare(string(x.ID), string(y.ID)) })
	return &whole
}

// expected lists the servers of pieces that are not over, once each.
func (b *Book) expected() []shard.ServerID {
	seen := map[shard.ServerID]struct{}{}
	for _, n := range b.all {
		for i := range n.wanted.Pieces {
			for _, c := range n.wanted.Pieces[i].Covers {
				if !n.wanted.Pieces[i].State.Over() {
					seen[c.Server] = struct{}{}
				}
			}
		}
	}
	return shard.SortedKeys(seen)
}
