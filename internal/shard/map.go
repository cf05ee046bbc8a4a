package shard

import (
	"fmt"
	"slices"
)

// pageShards is how many shards share a page: a delta copies only the pages that it touches.
const pageShards = 4096

// Entry is where one shard is.
type Entry struct {
	Index   Index
	Primary ServerID // empty: no primary at present
	Term    Term     // 0: none
}

// Delta turns one version of an app's map into the next.
type Delta struct {
	App     App
	Base    Version
	Version Version
	Servers []Server   // new or changed, whole
	Removed []ServerID // gone; no shard names them any more
	Shards  []Entry
}

// Map says who serves what in one app. It is immutable; Apply makes the next one and shares what did not change.
type Map struct {
	App     App
	Version Version
	Space   HashSpace

	servers   []Server // positions are stable between snapshots; an empty ID marks a removed one
	addresses []string // of servers, shifted by one, close together: Address reads nothing else of them
	at        map[ServerID]int32
	primaries []*primaryPage
	terms     []*termPage
}

// The columns are apart, and the pages of a new map next to each other: a lookup at random then misses the cache about once.
type (
	primaryPage [pageShards]int32 // 1 + position in servers; 0: none
	termPage    [pageShards]Term
)

// NewMap builds a map. Entries may be missing (no primary) and come in any order; each must name a listed server.
func NewMap(app App, version Version, space HashSpace, servers []Server, entries []Entry) (*Map, error) {
	m := &Map{App: app, Version: version, Space: space, at: make(map[ServerID]int32, len(servers))}
	m.servers = slices.Clone(servers)
	for i, s := range servers {
		m.at[s.ID] = int32(i)
	}
	m.addresses = addressesOf(m.servers)
	n := (int(space.Shards) + pageShards - 1) / pageShards
	m.primaries, m.terms = make([]*primaryPage, n), make([]*termPage, n)
	primaries, terms := make([]primaryPage, n), make([]termPage, n)
	for i := range n {
		m.primaries[i], m.terms[i] = &primaries[i], &terms[i]
	}
	for _, e := range entries {
		if err := m.set(e); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func addressesOf(servers []Server) []string {
	list := make([]string, 1, len(servers)+1)
	for _, s := range servers {
		list = append(list, s.DataAddress)
	}
	return list
}

// set is for a map under construction, whose page of the entry nobody else has.
func (m *Map) set(e Entry) error {
	if e.Index >= Index(m.Space.Shards) {
		return fmt.Errorf("map %s: shard index %d: the app has %d shards", m.App, e.Index, m.Space.Shards)
	}
	pos := int32(0)
	if e.Primary != "" {
		at, ok := m.at[e.Primary]
		if !ok {
			return fmt.Errorf("map %s: shard index %d: unknown server %s", m.App, e.Index, e.Primary)
		}
		pos = at + 1
	}
	m.primaries[e.Index/pageShards][e.Index%pageShards] = pos
	m.terms[e.Index/pageShards][e.Index%pageShards] = e.Term
	return nil
}

// Apply returns the map after a delta. It fails if the delta does not start at this version; the caller then asks for a snapshot.
func (m *Map) Apply(d Delta) (*Map, error) {
	if d.App != m.App || d.Base.Compare(m.Version) != 0 {
		return nil, fmt.Errorf("map %s: delta from %s does not fit version %s", m.App, d.Base, m.Version)
	}
	next := *m
	next.Version = d.Version
	next.primaries, next.terms = slices.Clone(m.primaries), slices.Clone(m.terms)
	if len(d.Servers)+len(d.Removed) > 0 {
		next.changeServers(d)
	}
	copied := map[Index]bool{}
	for _, e := range d.Shards {
		if at := e.Index / pageShards; e.Index < Index(m.Space.Shards) && !copied[at] {
			primaries, terms := *next.primaries[at], *next.terms[at]
			next.primaries[at], next.terms[at], copied[at] = &primaries, &terms, true
		}
		if err := next.set(e); err != nil {
			return nil, err
		}
	}
	return &next, nil
}

func (m *Map) changeServers(d Delta) {
	old := m.at
	m.servers, m.at = slices.Clone(m.servers), make(map[ServerID]int32, len(old)+len(d.Servers))
	for id, at := range old {
		m.at[id] = at
	}
	for _, s := range d.Servers {
		if at, ok := m.at[s.ID]; ok {
			m.servers[at] = s
			continue
		}
		m.at[s.ID] = int32(len(m.servers))
		m.servers = append(m.servers, s)
	}
	for _, id := range d.Removed {
		if at, ok := m.at[id]; ok {
			m.servers[at] = Server{}
			delete(m.at, id)
		}
	}
	m.addresses = addressesOf(m.servers)
}

// Lookup returns the server and term of a shard; nil if it has no primary at present. It neither locks nor allocates.
func (m *Map) Lookup(i Index) (*Server, Term) {
	at := m.primaries[i/pageShards][i%pageShards]
	if at == 0 {
		return nil, 0
	}
	return &m.servers[at-1], m.terms[i/pageShards][i%pageShards]
}

// Address returns the data address of a shard's primary; empty if it has none. It is Lookup for those who route, and quicker.
func (m *Map) Address(i Index) string {
	return m.addresses[m.primaries[i/pageShards][i%pageShards]]
}

// Server returns a server by id; the result must not be changed.
func (m *Map) Server(id ServerID) (*Server, bool) {
	at, ok := m.at[id]
	if !ok {
		return nil, false
	}
	return &m.servers[at], true
}

// Servers lists the servers in the order of their ids.
func (m *Map) Servers() []Server {
	list := make([]Server, 0, len(m.at))
	for _, id := range SortedKeys(m.at) {
		list = append(list, m.servers[m.at[id]])
	}
	return list
}

// Entries lists every shard in the order of indexes.
func (m *Map) Entries() []Entry {
	list := make([]Entry, m.Space.Shards)
	for i := range list {
		list[i].Index = Index(i)
		if s, term := m.Lookup(Index(i)); s != nil {
			list[i].Primary, list[i].Term = s.ID, term
		}
	}
	return list
}
