package shard

import "maps"

// Names are the ids of a named key space, where the application names its shards: by index, with holes where shards were deleted. The zero
// Names has none. They are immutable: With makes the next ones and shares what did not change.
type Names struct {
	ids  []ID         // by index; empty: none
	base map[ID]Index // what recent does not say otherwise
	// recent has the last changes, so that a change copies no more than those; none: deleted.
	recent map[ID]Index
}

const (
	noIndex    Index = 1<<32 - 1
	recentMost       = 512
)

// NewNames builds names from ids by index; an empty id is a hole.
func NewNames(ids []ID) *Names {
	n := &Names{ids: append([]ID(nil), ids...), base: make(map[ID]Index, len(ids))}
	for i, id := range ids {
		if id != "" {
			n.base[id] = Index(i)
		}
	}
	return n
}

// Len is one more than the highest index that ever had an id.
func (n *Names) Len() int { return len(n.ids) }

// ID is the id at an index; empty: none.
func (n *Names) ID(i Index) ID {
	if int(i) >= len(n.ids) {
		return ""
	}
	return n.ids[i]
}

// Index is the position of an id; false if there is none.
func (n *Names) Index(id ID) (Index, bool) {
	if at, ok := n.recent[id]; ok {
		return at, at != noIndex
	}
	at, ok := n.base[id]
	return at, ok
}

// Named is an id at an index; an empty id takes away what was there.
type Named struct {
	Index Index
	ID    ID
}

// With returns the names after changes.
func (n *Names) With(changes []Named) *Names {
	if len(changes) == 0 {
		return n
	}
	next := &Names{ids: append([]ID(nil), n.ids...), base: n.base, recent: maps.Clone(n.recent)}
	if next.recent == nil {
		next.recent = make(map[ID]Index, len(changes))
	}
	for _, c := range changes {
		for len(next.ids) <= int(c.Index) {
			next.ids = append(next.ids, "")
		}
		if old := next.ids[c.Index]; old != "" && next.recent[old] != noIndex {
			if at, ok := next.Index(old); ok && at == c.Index {
				next.recent[old] = noIndex
			}
		}
		if next.ids[c.Index] = c.ID; c.ID != "" {
			next.recent[c.ID] = c.Index
		}
	}
	if len(next.recent) > recentMost {
		return NewNames(next.ids)
	}
	return next
}
