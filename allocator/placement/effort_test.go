package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// The work is counted, not timed: a plan that looked at every server for every shard would visit 20 million nodes and more.
func TestEffortIsNotShardsTimesServers(t *testing.T) {
	t.Parallel()
	const shards, servers = 20_000, 1_000
	for _, c := range []struct {
		name string
		cpu  int64 // capacity of a server; a shard needs 500 on average
		on   bool
	}{{"place", 100_000, false}, {"nearly full", 10_200, false}, {"overfull", 300, false}, {"balance", 100_000, true}} {
		random := rand.New(rand.NewPCG(1, 2))
		in := Input{App: "kv", Policy: Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
		for i := range servers {
			in.Servers = append(in.Servers, Server{ID: shard.ServerID(fmt.Sprintf("s%04d", i)), Accepts: true, Capacity: map[string]int64{"cpu": c.cpu}})
		}
		for i := range shards {
			sh := Shard{Index: shard.Index(i), Load: map[string]int64{MetricShards: 1, "cpu": random.Int64N(1000)}}
			if c.on {
				sh.Replicas = []Replica{{On: random.IntN(servers), To: -1, Role: shard.Primary, Settled: true}}
			}
			in.Shards = append(in.Shards, sh)
		}
		s := newState(&in)
		s.place()
		s.drain()
		s.balance()
		if len(s.plan.Moves) == 0 || s.tree.visits > 100*shards {
			t.Errorf("%s: %d visits for %d moves, expected at most %d", c.name, s.tree.visits, len(s.plan.Moves), 100*shards)
		} else {
			t.Logf("%s: %d visits for %d moves", c.name, s.tree.visits, len(s.plan.Moves))
		}
	}
}
