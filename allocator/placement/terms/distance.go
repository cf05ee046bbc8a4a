package terms

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
)

// distance is the mean round trip in microseconds from the clients of a goal to a region. A pair that nobody measured is as far apart as any that was.
func (g *Goal) distance(region string, apart latency.Matrix) int64 {
	far := time.Duration(0)
	for _, p := range apart.Pairs() {
		far = max(far, p.Median)
	}
	sum, shares := int64(0), int64(0)
	for client, part := range g.Clients {
		trip := far
		if e, known := apart.Between(client, region); known {
			trip = e.Median
		} else if client == region {
			trip = 0
		}
		sum, shares = sum+part*trip.Microseconds(), shares+part
	}
	return sum / max(1, shares)
}

// OfRoles reports whether a goal depends on where primaries are, and on nothing else.
func (g *Goal) OfRoles() bool { return g.Primaries && (g.Kind == Preference || g.Kind == Latency) }

// InRegion is what a replica that counts costs in a region, for goals that count that: a place in the list of regions, or microseconds.
func (g *Goal) InRegion(region string, apart latency.Matrix) int64 {
	if g.Kind == Latency {
		return g.distance(region, apart)
	}
	if at := slices.Index(g.Regions, region); at >= 0 {
		return int64(at)
	}
	return int64(len(g.Regions))
}
