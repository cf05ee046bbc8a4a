package terms

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
)

// Distance is the mean round trip in microseconds from the clients of a goal to a region. A pair that nobody measured is as far apart as any that was.
func (g *Goal) Distance(region string, apart latency.Matrix) int64 {
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
