// Package locality says which servers share a fault domain.
//
// A domain is named by its path from the region inwards: zone `1` of region `eu` and zone `1` of region `us` are two zones. A part that is
// empty is unknown, and the servers for which it is unknown count as one domain inside the next wider one: nothing shows that they fail
// apart. Only a host is different: a server whose host is unknown counts as a host of its own, so that servers without any locality can
// still hold replicas of one shard. It is called by placement and by whoever chooses the nearest of several servers; it keeps no state.
package locality

import "github.com/shardmanager/shardmanager/internal/shard"

// Domain is the width of a fault domain; the numbers are those of the wire.
type Domain uint8

// Domains, narrowest first.
const (
	Host Domain = iota + 1
	Rack
	Zone
	Region
)

// String names the domain as specs write it.
func (d Domain) String() string {
	switch d {
	case Host:
		return "host"
	case Rack:
		return "rack"
	case Zone:
		return "zone"
	case Region:
		return "region"
	}
	return "none"
}

// Of is the domain of a width that a locality is in: what is narrower is cut off, so that equal values are one domain.
func Of(l shard.Locality, d Domain) shard.Locality {
	if d > Host {
		l.Host = ""
	}
	if d > Rack {
		l.Rack = ""
	}
	if d > Zone {
		l.Zone = ""
	}
	return l
}

// Shared reports whether two different servers are in one domain of a width.
func Shared(a, b shard.Locality, d Domain) bool {
	if d == Host && a.Host == "" {
		return false
	}
	return Of(a, d) == Of(b, d)
}

// Count is how many domains of a width servers are in.
func Count(servers []shard.Locality, d Domain) (n int) {
	seen := make(map[shard.Locality]bool, len(servers))
	for _, l := range servers {
		own := d == Host && l.Host == ""
		if own || !seen[Of(l, d)] {
			n++
		}
		if !own {
			seen[Of(l, d)] = true
		}
	}
	return n
}
