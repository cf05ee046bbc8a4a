// Package field lays out the servers of an app for searches: in an order in which every fault domain is one span, and in a tree over that
// order that finds the best server with room, in or outside of some spans, in a few steps.
//
// It knows nothing of shards or plans. It is called by placement alone, and by nobody else.
package field

import (
	"cmp"
	"slices"

	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Span is a range of leaves of the tree, the first included and the last not.
type Span struct{ From, To int }

// Map is the order of the servers, with the fault domains and regions in it.
type Map struct {
	Order      []int                       // server by leaf
	Leaf       []int                       // leaf by server
	Domains    [locality.Region + 1][]Span // by width and server
	Open       [locality.Region + 1]int    // domains by width that have a server that accepts
	Accepts    int                         // servers that accept
	InRegion   []int                       // by server: position in Regions
	Regions    []Region                    // by name; those that only the policy names included
	AllRegions []int                       // their positions
	Ranks      [][]int                     // regions by how much primaries prefer them; none: they do not care
}

// Region is one region, with what the policy says of it.
type Region struct {
	Name    string
	Span    Span
	Accepts int // servers that accept
	Least   int // replicas of each shard that must be here
	Rank    int // position among the preferred ones; the last rank is everything else
}

// Site is a server as a place.
type Site struct {
	Locality shard.Locality
	Accepts  bool
}

// String is how people call a region.
func (r Region) String() string {
	if r.Name == "" {
		return "the unnamed region"
	}
	return "region " + r.Name
}

// NewMap lays out servers. least has the replicas that must be in a region, and prefer the regions that primaries prefer, best first; those in one
// list are preferred alike.
func NewMap(sites []Site, least map[string]int, prefer [][]string) *Map {
	n := len(sites)
	g := &Map{Order: make([]int, n), Leaf: make([]int, n), InRegion: make([]int, n)}
	for i := range g.Order {
		g.Order[i] = i
	}
	slices.SortStableFunc(g.Order, func(a, b int) int {
		x, y := sites[a].Locality, sites[b].Locality
		return cmp.Or(cmp.Compare(x.Region, y.Region), cmp.Compare(x.Zone, y.Zone), cmp.Compare(x.Rack, y.Rack), cmp.Compare(x.Host, y.Host))
	})
	for leaf, server := range g.Order {
		g.Leaf[server] = leaf
		if sites[server].Accepts {
			g.Accepts++
		}
	}
	for d := locality.Host; d <= locality.Region; d++ {
		g.Domains[d] = make([]Span, n)
		for from := 0; from < n; {
			to, open := from+1, false
			for to < n && locality.Shared(sites[g.Order[from]].Locality, sites[g.Order[to]].Locality, d) {
				to++
			}
			for _, server := range g.Order[from:to] {
				g.Domains[d][server] = Span{from, to}
				open = open || sites[server].Accepts
			}
			if open {
				g.Open[d]++
			}
			from = to
		}
	}
	g.nameRegions(sites, least, prefer)
	return g
}

// nameRegions lists the regions that have servers or are named by the policy.
func (g *Map) nameRegions(sites []Site, least map[string]int, prefer [][]string) {
	spans := map[string]Span{}
	for i := range sites {
		spans[sites[i].Locality.Region] = g.Domains[locality.Region][i]
	}
	for _, name := range shard.SortedKeys(least) {
		if _, ok := spans[name]; !ok {
			spans[name] = Span{} // no server is there
		}
	}
	if len(prefer) > 0 {
		g.Ranks = make([][]int, len(prefer)+1)
	}
	for at, name := range shard.SortedKeys(spans) {
		r := Region{Name: name, Span: spans[name], Least: least[name]}
		for _, server := range g.Order[r.Span.From:r.Span.To] {
			g.InRegion[server] = at
			if sites[server].Accepts {
				r.Accepts++
			}
		}
		if g.Ranks != nil {
			if r.Rank = slices.IndexFunc(prefer, func(alike []string) bool { return slices.Contains(alike, name) }); r.Rank < 0 {
				r.Rank = len(prefer)
			}
			g.Ranks[r.Rank] = append(g.Ranks[r.Rank], at)
		}
		g.Regions, g.AllRegions = append(g.Regions, r), append(g.AllRegions, at)
	}
}

// Empty says which regions that the policy names have no server that accepts.
func (g *Map) Empty(prefer []string) (notes []string) {
	note := func(what, name string) {
		at, known := slices.BinarySearchFunc(g.Regions, name, func(r Region, name string) int { return cmp.Compare(r.Name, name) })
		switch {
		case !known || g.Regions[at].Span.From == g.Regions[at].Span.To:
			notes = append(notes, what+name+": no server is in it")
		case g.Regions[at].Accepts == 0:
			notes = append(notes, what+name+": none of its servers accepts shards")
		}
	}
	for _, name := range prefer {
		note("preferred region ", name)
	}
	for _, r := range g.Regions {
		if r.Least > 0 {
			note("region_replicas: region ", r.Name)
		}
	}
	return notes
}

// Rank is how much primaries prefer a server's region; 0 is the best.
func (g *Map) Rank(server int) int { return g.Regions[g.InRegion[server]].Rank }

// RegionOf is the region of a server.
func (g *Map) RegionOf(server int) *Region { return &g.Regions[g.InRegion[server]] }

// Shared reports whether two servers are in one domain of a width.
func (g *Map) Shared(a, b int, d locality.Domain) bool { return g.Domains[d][a] == g.Domains[d][b] }

// Beside are the servers that share a domain of a width with one, itself included.
func (g *Map) Beside(server int, width locality.Domain) (list []int32) {
	for other := range g.Domains[width] {
		if g.Shared(server, other, width) {
			list = append(list, int32(other))
		}
	}
	return list
}

// Preferences lists regions by how much they are preferred, those of a rank together: the preferred ones, then all others by how near they are to
// the first, where replicas go while it has no room.
func Preferences(prefer []string, near map[string]int) (list [][]string) {
	for _, name := range prefer {
		list = append(list, []string{name})
	}
	others := slices.DeleteFunc(shard.SortedKeys(near), func(name string) bool { return slices.Contains(prefer, name) })
	slices.SortStableFunc(others, func(a, b string) int { return cmp.Compare(near[a], near[b]) })
	for at, name := range others {
		if at > 0 && near[name] == near[others[at-1]] {
			list[len(list)-1] = append(list[len(list)-1], name)
		} else {
			list = append(list, []string{name})
		}
	}
	return list
}
