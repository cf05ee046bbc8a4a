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
	Names   []Named // of a named key space: shards that were created or, with an empty id, deleted
	// PublishedMS is when the leader published it, by its own clock, in milliseconds since 1970; 0: not known. For metrics only.
	PublishedMS int64
}

// Map says who serves what in one app. It is immutable; Apply makes the next one and shares what did not change.
type Map struct {
	App     App
	Version Version
	// Space has as many shards as there are indexes; how keys become shards is for Of to say.
	Space HashSpace
	Names *Names // of a named key space; nil: hash

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

// NewNamedMap is NewMap for a named key space.
func NewNamedMap(app App, version Version, names *Names, servers []Server, entries []Entry) (*Map, error) {
	m := emptyMap(app, version, HashSpace{Shards: uint32(names.Len())}, servers)
	m.Names = names
	for _, e := range entries {
		if err := m.set(e); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Of returns the shard of a key; false if a named key space has none of that name. It neither locks nor allocates.
func (m *Map) Of(key []byte) (Index, bool) {
	if m.Names == nil {
		return m.Space.Of(key), true
	}
	return m.Names.Index(ID(key))
}

// OfString is Of for a string key, without a copy.
func (m *Map) OfString(key string) (Index, bool) {
	if m.Names == nil {
		return m.Space.OfString(key), true
	}
	return m.Names.Index(ID(key))
}

// ID is the id of the shard at an index; empty where a named key space has none.
func (m *Map) ID(i Index) ID {
	if m.Names == nil {
		return m.Space.ID(i)
	}
	return m.Names.ID(i)
}

// IndexOf is the position of a shard's id; false if there is no such shard.
func (m *Map) IndexOf(id ID) (Index, bool) {
	if m.Names == nil {
		return m.Space.Index(id)
	}
	return m.Names.Index(id)
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
	if len(d.Names) > 0 {
		if err := next.changeNames(d.Names); err != nil {
			return nil, err
		}
	}
	copied := map[Index]bool{}
	for _, e := range d.Shards {
		if at := e.Index / pageShards; e.Index < Index(next.Space.Shards) && !copied[at] {
			next.copyPage(at)
			copied[at] = true
		}
		if err := next.set(e); err != nil {
			return nil, err
		}
	}
	return &next, nil
}

// changeNames creates and deletes shards of a map under construction; new indexes get room.
func (m *Map) changeNames(changes []Named) error {
	if m.Names == nil {
		return fmt.Errorf("map %s: shards with names of their own: the key space is hash", m.App)
	}
	for _, c := range changes {
		if c.Index >= MaxShards {
			return fmt.Errorf("map %s: shard index %d: at most %d", m.App, c.Index, MaxShards)
		}
	}
	m.Names = m.Names.With(changes)
	m.Space.Shards = uint32(max(m.Names.Len(), int(m.Space.Shards)))
	for len(m.primaries) < m.pages() {
		m.primaries, m.terms = append(m.primaries, new(serverPage)), append(m.terms, new(termPage))
	}
	for k := range m.others {
		for len(m.others[k]) < m.pages() {
			m.others[k] = append(m.others[k], nil)
		}
	}
	return nil
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
