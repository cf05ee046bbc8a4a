package feed

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/suggest"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Filter says which events a reader wants. The zero Filter is all of them. Gaps belong to everybody.
type Filter struct {
	App   shard.App      // this app's, and those of the cluster as a whole; empty: all
	Kinds []pb.EventKind // none: all
}

// FilterOf makes a filter of what the wire says; a *wire.FieldError if there is no such kind.
func FilterOf(app string, kinds []pb.EventKind) (Filter, error) {
	for i, k := range kinds {
		if _, known := pb.EventKind_name[int32(k)]; !known || k == pb.EventKind_EVENT_KIND_UNSPECIFIED {
			return Filter{}, &wire.FieldError{Field: fmt.Sprintf("kinds[%d]", i), Expected: strings.Join(KindNames(), " or ")}
		}
	}
	return Filter{App: shard.App(app), Kinds: kinds}, nil
}

// Wants reports whether a reader is to have an event.
func (f Filter) Wants(e events.Event) bool {
	if _, gap := e.Body.(events.Gap); gap {
		return true
	}
	of := e.App()
	return (f.App == "" || of == "" || of == f.App) && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, kindOf(e)))
}

// kindOf is the kind of an event; 0 of a gap.
func kindOf(e events.Event) pb.EventKind {
	switch e.Body.(type) {
	case events.Decided:
		return pb.EventKind_EVENT_KIND_DECISION
	case events.ServerChanged:
		return pb.EventKind_EVENT_KIND_SERVER
	case events.LeaderChanged:
		return pb.EventKind_EVENT_KIND_LEADER
	case events.Gap:
	}
	return pb.EventKind_EVENT_KIND_UNSPECIFIED
}

// TypeOf is the type of an event, as readers are told it: decision, server, leader or gap.
func TypeOf(e events.Event) string {
	if k := kindOf(e); k != pb.EventKind_EVENT_KIND_UNSPECIFIED {
		return KindName(k)
	}
	return "gap"
}

// kindPrefix is that of the enumeration's values.
const kindPrefix = "EVENT_KIND_"

// KindName is how people write a kind.
func KindName(k pb.EventKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), kindPrefix))
}

// ParseKind reads a kind as people write it. The error says what was expected.
func ParseKind(name string) (pb.EventKind, error) {
	k := pb.EventKind(pb.EventKind_value[kindPrefix+strings.ToUpper(name)])
	if k == pb.EventKind_EVENT_KIND_UNSPECIFIED || KindName(k) != name {
		known := KindNames()
		return 0, fmt.Errorf("expected %s, not %q%s", strings.Join(known, " or "), name, suggest.Or(name, slices.Values(known)))
	}
	return k, nil
}

// KindNames are the names of all kinds.
func KindNames() []string {
	var names []string
	for _, k := range slices.Sorted(maps.Keys(pb.EventKind_name))[1:] {
		names = append(names, KindName(pb.EventKind(k)))
	}
	return names
}
