package sdk

import "github.com/shardmanager/shardmanager/internal/shard"

// Route says where a key is served. It is a value of the moment: the next map may say otherwise.
type Route struct {
	m       *shard.Map
	index   shard.Index
	address string
	hinted  bool // a refusal named the address: the map may know it as nothing, or as another role
}

// Shard is the id of the key's shard.
func (r Route) Shard() string {
	if r.m == nil {
		return ""
	}
	return string(r.m.ID(r.index))
}

// Index is the position of the shard in the order of ids, from 0.
func (r Route) Index() uint32 { return uint32(r.index) }

// Server is the id of the server; empty for a place that a refusal named by address only.
func (r Route) Server() string { return string(r.server().ID) }

// Role is that of the server in the map: RoleSecondary only if WithNearestRead led there.
func (r Route) Role() Role {
	if r.m == nil || r.hinted {
		return RolePrimary
	}
	if r.m.Address(r.index) != r.address {
		return RoleSecondary
	}
	return RolePrimary
}

// Address is where the server takes requests, host:port.
func (r Route) Address() string { return r.address }

// Term is the term that the map knows the primary by.
func (r Route) Term() uint64 {
	if r.m == nil {
		return 0
	}
	_, term := r.m.Lookup(r.index)
	return uint64(term)
}

// Region is where the server runs; empty if unknown.
func (r Route) Region() string { return r.server().Locality.Region }

// Zone is where in the region the server runs; empty if unknown.
func (r Route) Zone() string { return r.server().Locality.Zone }

// server is the replica that the route leads to, and else the zero server.
func (r Route) server() *shard.Server {
	if r.m == nil || r.hinted {
		return &shard.Server{}
	}
	if s, _ := r.m.Lookup(r.index); s != nil && s.DataAddress == r.address {
		return s
	}
	for k := 0; ; k++ {
		s := r.m.Secondary(r.index, k)
		if s == nil {
			return &shard.Server{}
		}
		if s.DataAddress == r.address {
			return s
		}
	}
}

// same reports whether two routes lead to the same owner at the same place: asking there again would be asking the same process.
func (r Route) same(o Route) bool {
	if r.m == nil || o.m == nil || r.address != o.address || r.index != o.index {
		return false
	}
	a, b := r.server(), o.server()
	return a.ID == b.ID && a.Incarnation == b.Incarnation && r.Term() == o.Term()
}

// mapView is a map and the news of the next one. Views are immutable; the Router swaps them.
type mapView struct {
	m       *shard.Map    // nil: none yet
	changed chan struct{} // closed when another view takes this one's place
}

// route finds the way to a shard; false if the map has no primary for it, or one without an address.
func (v *mapView) route(i shard.Index) (Route, bool) {
	address := v.m.Address(i)
	return Route{m: v.m, index: i, address: address}, address != ""
}

// routeTo is route for a key; false too if a named key space has no such shard.
func (v *mapView) routeTo(key string) (Route, bool) {
	i, ok := v.m.OfString(key)
	if !ok {
		return Route{}, false
	}
	return v.route(i)
}

// Lookup finds the server of a key in the newest map; false if there is no map yet or the key's shard has no primary at present. In a named
// key space the key is the id of the shard; false too if there is none of that name. It takes no lock and allocates nothing.
func (r *Router) Lookup(key []byte) (Route, bool) {
	v := r.view.Load()
	if v.m == nil {
		return Route{}, false
	}
	i, ok := v.m.Of(key)
	if !ok {
		return Route{}, false
	}
	return v.route(i)
}

// LookupString is Lookup for a string key.
func (r *Router) LookupString(key string) (Route, bool) {
	v := r.view.Load()
	if v.m == nil {
		return Route{}, false
	}
	return v.routeTo(key)
}
