package shard

import (
	"fmt"
	"slices"
)

// pageShards is how many shards share a page: a delta copies only the pages that it touches, and the lists of all pages. At 1 000 000 shards
// the two are about equal.
const pageShards = 1024

// Entry is where one shard is.
type Entry struct {
	Index   Index
	Primary ServerID // empty: no primary at present
	Term    Term     // 0: none
	// Secondaries that may be read, in an order that means nothing.
	Secondaries []ServerID
}

// Equal reports whether two entries say the same.
func (e Entry) Equal(f Entry) bool {
	return e.Index == f.Index && e.Primary == f.Primary && e.Term == f.Term && slices.Equal(e.Secondaries, f.Secondaries)
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
	primaries []*serverPage
	terms     []*termPage
	others    [][]*serverPage // the first secondary of every shard, the second, and so on; a page that names nobody is nil
}

// The columns are apart, and the pages of a new map next to each other: a lookup at random then misses the cache about once.
type (
	serverPage [pageShards]int32 // 1 + position in servers; 0: none
	termPage   [pageShards]Term
)

// NewMap builds a map. Entries may be missing (no primary) and come in any order; each must name listed servers.
func NewMap(app App, version Version, space HashSpace, servers []Server, entries []Entry) (*Map, error) {
	m := emptyMap(app, version, space, servers)
	for _, e := range entries {
		if err := m.set(e); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func emptyMap(app App, version Version, space HashSpace, servers []Server) *Map {
	m := &Map{App: app, Version: version, Space: space, at: make(map[ServerID]int32, len(servers))}
	m.servers = slices.Clone(servers)
	for i, s := range servers {
		m.at[s.ID] = int32(i)
	}
	m.addresses = addressesOf(m.servers)
	n := m.pages()
	m.primaries, m.terms = make([]*serverPage, n), make([]*termPage, n)
	primaries, terms := make([]serverPage, n), make([]termPage, n)
	for i := range n {
		m.primaries[i], m.terms[i] = &primaries[i], &terms[i]
	}
	return m
}

func (m *Map) pages() int { return (int(m.Space.Shards) + pageShards - 1) / pageShards }

// Columns is a map by shard index, servers by 1 + their position; 0: none. It is how a map travels, and builds one without an Entry for
// each shard.
type Columns struct {
	Primaries   []uint32
	Terms       []Term
	Secondaries [][]uint32 // the first of every shard, the second, and so on
}

// MapOfColumns builds a map. The columns must be as long as the key space and name only servers that are listed.
func MapOfColumns(app App, version Version, space HashSpace, servers []Server, c Columns) (*Map, error) {
	m := emptyMap(app, version, space, servers)
	if len(c.Primaries) != int(space.Shards) || len(c.Terms) != int(space.Shards) {
		return nil, fmt.Errorf("map %s: %d primaries and %d terms: the app has %d shards", app, len(c.Primaries), len(c.Terms), space.Shards)
	}
	for i, at := range c.Primaries {
		if int(at) > len(servers) || (at == 0) != (c.Terms[i] == 0) {
			return nil, fmt.Errorf("map %s: shard index %d: server %d of %d at term %d", app, i, at, len(servers), c.Terms[i])
		}
		m.primaries[i/pageShards][i%pageShards], m.terms[i/pageShards][i%pageShards] = int32(at), c.Terms[i]
	}
	for k, column := range c.Secondaries {
		if len(column) != int(space.Shards) {
			return nil, fmt.Errorf("map %s: secondary %d of %d shards: the app has %d", app, k, len(column), space.Shards)
		}
		for i, at := range column {
			if int(at) > len(servers) {
				return nil, fmt.Errorf("map %s: shard index %d: server %d of %d", app, i, at, len(servers))
			}
			if at != 0 {
				m.setOther(k, Index(i), int32(at))
			}
		}
	}
	return m, nil
}

// Columns returns the map by shard index; Servers lists who the positions name.
func (m *Map) Columns() Columns {
	rank := make([]uint32, len(m.servers)+1) // 1 + position among the listed, by 1 + position here
	for i, id := range SortedKeys(m.at) {
		rank[m.at[id]+1] = uint32(i) + 1
	}
	n := int(m.Space.Shards)
	c := Columns{Primaries: make([]uint32, n), Terms: make([]Term, n), Secondaries: make([][]uint32, len(m.others))}
	for i := range n {
		c.Primaries[i] = rank[m.primaries[i/pageShards][i%pageShards]]
		if c.Primaries[i] != 0 {
			c.Terms[i] = m.terms[i/pageShards][i%pageShards]
		}
	}
	for k, pages := range m.others {
		c.Secondaries[k] = make([]uint32, n)
		for i := range n {
			if page := pages[i/pageShards]; page != nil {
				c.Secondaries[k][i] = rank[page[i%pageShards]]
			}
		}
	}
	return c
}

func addressesOf(servers []Server) []string {
	list := make([]string, 1, len(servers)+1)
	for _, s := range servers {
		list = append(list, s.DataAddress)
	}
	return list
}

// set is for a map under construction, whose pages of the entry nobody else has.
func (m *Map) set(e Entry) error {
	if e.Index >= Index(m.Space.Shards) {
		return fmt.Errorf("map %s: shard index %d: the app has %d shards", m.App, e.Index, m.Space.Shards)
	}
	pos, err := m.position(e.Index, e.Primary)
	if err != nil {
		return err
	}
	m.primaries[e.Index/pageShards][e.Index%pageShards] = pos
	m.terms[e.Index/pageShards][e.Index%pageShards] = e.Term
	for k, id := range e.Secondaries {
		pos, err := m.position(e.Index, id)
		if err != nil {
			return err
		}
		m.setOther(k, e.Index, pos)
	}
	for k := len(e.Secondaries); k < len(m.others); k++ {
		if page := m.others[k][e.Index/pageShards]; page != nil {
			page[e.Index%pageShards] = 0
		}
	}
	return nil
}

// position is 1 + that of a server; 0 for none.
func (m *Map) position(i Index, id ServerID) (int32, error) {
	if id == "" {
		return 0, nil
	}
	at, ok := m.at[id]
	if !ok {
		return 0, fmt.Errorf("map %s: shard index %d: unknown server %s", m.App, i, id)
	}
	return at + 1, nil
}

// setOther sets secondary k of a shard in a map under construction.
func (m *Map) setOther(k int, i Index, pos int32) {
	for len(m.others) <= k {
		m.others = append(m.others, make([]*serverPage, m.pages()))
	}
	page := m.others[k][i/pageShards]
	if page == nil {
		page = new(serverPage)
		m.others[k][i/pageShards] = page
	}
	page[i%pageShards] = pos
}

// Apply returns the map after a delta. It fails if the delta does not start at this version; the caller then asks for a snapshot.
func (m *Map) Apply(d Delta) (*Map, error) {
	if d.App != m.App || d.Base.Compare(m.Version) != 0 {
		return nil, fmt.Errorf("map %s: delta from %s does not fit version %s", m.App, d.Base, m.Version)
	}
	next := *m
	next.Version = d.Version
	next.primaries, next.terms = slices.Clone(m.primaries), slices.Clone(m.terms)
	next.others = make([][]*serverPage, len(m.others))
	for k, pages := range m.others {
		next.others[k] = slices.Clone(pages)
	}
	if len(d.Servers)+len(d.Removed) > 0 {
		next.changeServers(d)
	}
	copied := map[Index]bool{}
	for _, e := range d.Shards {
		if at := e.Index / pageShards; e.Index < Index(m.Space.Shards) && !copied[at] {
			next.copyPage(at)
			copied[at] = true
		}
		if err := next.set(e); err != nil {
			return nil, err
		}
	}
	return &next, nil
}

// copyPage makes a page of every column its own.
func (m *Map) copyPage(at Index) {
	primaries, terms := *m.primaries[at], *m.terms[at]
	m.primaries[at], m.terms[at] = &primaries, &terms
	for k := range m.others {
		if page := m.others[k][at]; page != nil {
			own := *page
			m.others[k][at] = &own
		}
	}
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

// Secondary returns secondary k of a shard, from 0; nil if it has no more than k. It neither locks nor allocates.
func (m *Map) Secondary(i Index, k int) *Server {
	if k >= len(m.others) {
		return nil
	}
	page := m.others[k][i/pageShards]
	if page == nil || page[i%pageShards] == 0 {
		return nil
	}
	return &m.servers[page[i%pageShards]-1]
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
		for k := 0; m.Secondary(Index(i), k) != nil; k++ {
			list[i].Secondaries = append(list[i].Secondaries, m.Secondary(Index(i), k).ID)
		}
	}
	return list
}
