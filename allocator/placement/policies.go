package placement

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// class is the position of what policies say of a shard; -1: nothing.
func (s *state) class(i int) int {
	if s.in.Terms == nil {
		return -1
	}
	return int(s.in.Terms.Of[i])
}

// width is the widest domain that two replicas of a shard never share.
func (s *state) width(i int) locality.Domain {
	if c := s.class(i); c >= 0 {
		return max(s.spread, s.in.Terms.Classes[c].Width())
	}
	return s.spread
}

// choosy reports whether constraints on a shard look at more than servers and the shard's own fault domains, or others' look at the shard. Its
// replicas are then placed and moved by the engine alone; the rules only change its roles.
func (s *state) choosy(i int) bool { return s.in.Terms != nil && s.choosers[i] }

// barred is the constraint of policies that forbids a server the replicas of a shard; empty: none does.
func (s *state) barred(i, server int) string {
	c := s.class(i)
	if c < 0 {
		return ""
	}
	class := &s.in.Terms.Classes[c]
	if f := class.Barred(server); f != nil {
		return f.Name
	}
	for _, p := range class.Pins {
		if p.Servers != nil && !s.pinnedAt(i, server) && s.unfilled(i) {
			return p.Name
		}
	}
	return ""
}

// alike reports whether the primary of a shard may be on either of two servers for all that policies want of primaries: their goals go before the
// number of primaries, and would have it back.
func (s *state) alike(i, a, b int) bool {
	if s.in.Terms == nil || s.where.InRegion[a] == s.where.InRegion[b] {
		return true
	}
	return slices.Equal(s.roleCosts(i, a), s.roleCosts(i, b))
}

// pinnedAt reports whether a replica of a shard that is on a server stays there.
func (s *state) pinnedAt(i, server int) bool {
	c := s.class(i)
	return c >= 0 && slices.ContainsFunc(s.in.Terms.Classes[c].Pins, func(p terms.Pin) bool { return p.Servers == nil || slices.Contains(p.Servers, int32(server)) })
}

// unfilled reports whether a server that a pin names has no replica of the shard.
func (s *state) unfilled(i int) bool {
	return slices.ContainsFunc(s.in.Terms.Classes[s.class(i)].Pins, func(p terms.Pin) bool {
		return slices.ContainsFunc(p.Servers, func(server int32) bool {
			return !slices.ContainsFunc(s.replicas[i], func(r replica) bool { return r.at == int(server) && !r.leaving })
		})
	})
}
