package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/policy/check"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// overrides is what a policy says of single shards.
type overrides struct {
	list     []*Source
	ids      map[string]int // position in list
	prefixes map[string]int
	lengths  []int       // of the prefixes, ascending
	keys     []shardsKey // of the entries, by position
}

// shardsKey is which shards an entry is about.
type shardsKey struct {
	text   string
	prefix bool
}

// newOverrides makes a source of each entry, and refuses entries for the same shards.
func newOverrides(s *Source, entries []*pb.ShardPolicy, p *check.Problems) *overrides {
	o := &overrides{ids: map[string]int{}, prefixes: map[string]int{}}
	lengths := map[int]bool{}
	for i, entry := range entries {
		at := fmt.Sprintf("shards[%d]", i)
		text, kind, index := entry.GetId(), "id", o.ids
		if entry.GetPrefix() != "" {
			text, kind, index = entry.GetPrefix(), "prefix", o.prefixes
			lengths[len(text)] = true
		}
		if before, twice := index[text]; twice {
			p.Add(at+"."+kind, "%s has an entry already: %s", text, s.where.Origin(fmt.Sprintf("shards[%d].%s", before, kind)))
		}
		index[text] = i
		layer := &Source{app: s.app, where: s.where, at: at, group: entry.GetGroup()}
		if entry.Moves != nil {
			layer.moves = &pb.MoveCaps{Shard: entry.Moves}
		}
		layer.constraints, layer.goals = placed(entry.GetConstraints(), entry.GetGoals(), s.where, at)
		o.list, o.keys = append(o.list, layer), append(o.keys, shardsKey{text, kind == "prefix"})
	}
	o.lengths = slices.Sorted(maps.Keys(lengths))
	return o
}

// Shards are the layers that the policy has for a shard, in the order for Compose: what is said of shorter prefixes first, of the shard itself
// last. Shards with the same layers, compared as pointers, have the same policy.
func (s *Source) Shards(id string) []*Source {
	if s == nil || s.overrides == nil {
		return nil
	}
	layers := s.overrides.ofPrefixes(id)
	if i, ok := s.overrides.ids[id]; ok {
		layers = append(layers, s.overrides.list[i])
	}
	return layers
}

// ofPrefixes are the layers of the prefixes of a text, shorter ones first.
func (o *overrides) ofPrefixes(text string) []*Source {
	var layers []*Source
	for _, n := range o.lengths {
		if n > len(text) {
			break
		}
		if i, ok := o.prefixes[text[:n]]; ok {
			layers = append(layers, o.list[i])
		}
	}
	return layers
}

// ordered are the positions of the entries by text, what is said of a prefix before what is said of the shard with that very id.
func (o *overrides) ordered() []int {
	order := make([]int, len(o.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := strings.Compare(o.keys[a].text, o.keys[b].text); c != 0 || o.keys[a].prefix == o.keys[b].prefix {
			return c
		}
		if o.keys[a].prefix {
			return -1
		}
		return 1
	})
	return order
}
