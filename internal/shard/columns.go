package shard

import "fmt"

// Columns is a map by shard index, servers by 1 + their position; 0: none. It is how a map travels, and builds one without an Entry for
// each shard.
type Columns struct {
	Primaries   []uint32
	Terms       []Term
	Secondaries [][]uint32 // the first of every shard, the second, and so on
	Names       []ID       // of a named key space, empty where there is none; nil: hash
}

// MapOfColumns builds a map. The columns must be as long as the key space and name only servers that are listed.
func MapOfColumns(app App, version Version, space HashSpace, servers []Server, c Columns) (*Map, error) {
	m := emptyMap(app, version, space, servers)
	if c.Names != nil {
		m.Names = NewNames(c.Names)
	}
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
	if m.Names != nil {
		c.Names = append(make([]ID, 0, n), m.Names.ids...)
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
