package allocator

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
)

// What agents report to the leader is offered by every allocator to those who watch maps.
func TestLatenciesReachEveryAllocator(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	nodes := []*node{c.start("a1"), c.start("a2")}
	leader := c.leader(nodes...)
	c.createApp(leader, "kv", 1)
	for agent, x := range map[string]time.Duration{"eu": 0, "us": 90 * time.Millisecond} {
		leader.regions.Report(agent, agent, latency.Coordinate{Vector: []time.Duration{x}})
	}
	for _, n := range nodes {
		eventually(t, n.cfg.Name+" tells of latencies", func() bool {
			e, ok := n.maps.hub.Latencies().Between("us", "eu")
			return ok && e.Median == 90*time.Millisecond
		})
	}
}
