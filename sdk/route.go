package sdk

import "github.com/shardmanager/shardmanager/internal/shard"

// Route says where a key is served. It is a value of the moment: the next map may say otherwise.
type Route struct {
	space   shard.HashSpace
	index   shard.Index
	server  *shard.Server
	term    shard.Term
	address string
}

// Shard is the id of the key's shard.
func (r Route) Shard() string { return string(r.space.ID(r.index)) }

// Index is the position of the shard in the order of ids, from 0.
func (r Route) Index() uint32 { return uint32(r.index) }

// Server is the id of the shard's primary; empty for a place that a refusal named by address only.
func (r Route) Server() string {
	if r.server == nil {
		return ""
	}
	return string(r.server.ID)
}

// Address is where the primary takes requests, host:port.
func (r Route) Address() string { return r.address }

// Term is the term that the map knows the primary by.
func (r Route) Term() uint64 { return uint64(r.term) }

// Region is where the primary runs; empty if unknown.
func (r Route) Region() string { return r.locality().Region }

// Zone is where in the region the primary runs; empty if unknown.
func (r Route) Zone() string { return r.locality().Zone }

func (r Route) locality() shard.Locality {
	if r.server == nil {
		return shard.Locality{}
	}
	return r.server.Locality
}

// same reports whether two routes lead to the same owner at the same place: asking there again would be asking the same process.
func (r Route) same(o Route) bool {
	return r.server != nil && o.server != nil && r.term == o.term && r.server.ID == o.server.ID &&
		r.server.Incarnation == o.server.Incarnation && r.server.DataAddress == o.server.DataAddress
}

// mapView is a map and the news of the next one. Views are immutable; the Router swaps them.
type mapView struct {
	m       *shard.Map    // nil: none yet
	changed chan struct{} // closed when another view takes this one's place
}

// route finds the way to a shard; false if the map has no primary for it, or one without an address.
func (v *mapView) route(i shard.Index) (Route, bool) {
	server, term := v.m.Lookup(i)
	if server == nil || server.DataAddress == "" {
		return Route{}, false
	}
	return Route{space: v.m.Space, index: i, server: server, term: term, address: server.DataAddress}, true
}

// Lookup finds the server of a key in the newest map; false if there is no map yet or the key's shard has no primary at present. It takes
// no lock and allocates nothing.
func (r *Router) Lookup(key []byte) (Route, bool) {
	v := r.view.Load()
	if v.m == nil {
		return Route{}, false
	}
	return v.route(v.m.Space.Of(key))
}

// LookupString is Lookup for a string key.
func (r *Router) LookupString(key string) (Route, bool) {
	v := r.view.Load()
	if v.m == nil {
		return Route{}, false
	}
	return v.route(v.m.Space.OfString(key))
}
