package placement

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// The work is counted, not timed: a plan that looked at every server for every shard would visit 20 million nodes and more.
func TestEffortIsNotShardsTimesServers(t *testing.T) {
	t.Parallel()
	const shards, servers = 20_000, 1_000
	for _, c := range []struct {
		name     string
		cpu      int64 // capacity of a server; a replica needs 500 on average
		replicas int
		on       bool
	}{
		{"place", 100_000, 1, false}, {"nearly full", 10_200, 1, false}, {"overfull", 300, 1, false}, {"balance", 100_000, 1, true},
		{"place replicas", 100_000, 2, false}, {"overfull replicas", 300, 2, false}, {"balance replicas", 100_000, 2, true},
		{"more replicas than regions", 100_000, 4, false},
	} {
		random := rand.New(rand.NewPCG(1, 2))
		in := Input{App: "kv", Policy: Policy{Replicas: c.replicas, Spread: locality.Region, PreferRegions: []string{"r0"}, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}}
		for i := range servers {
			in.Servers = append(in.Servers, Server{ID: shard.ServerID(fmt.Sprintf("s%04d", i)), Accepts: true, Capacity: map[string]int64{"cpu": c.cpu},
				Locality: shard.Locality{Region: fmt.Sprintf("r%d", i%30/10), Zone: strconv.Itoa(i % 10)}})
		}
		for i := range shards {
			sh := Shard{Index: shard.Index(i), Load: map[string]int64{MetricShards: 1, "cpu": random.Int64N(1000)}}
			if c.on {
				first := random.IntN(servers - c.replicas*10)
				for k := range c.replicas { // ten servers on is another region
					sh.Replicas = append(sh.Replicas, Replica{On: first + k*10, To: -1, Role: shard.Secondary, Settled: true})
				}
				sh.Replicas[0].Role = shard.Primary
			}
			in.Shards = append(in.Shards, sh)
		}
		s := newState(&in)
		s.solve()
		if most := 150 * shards * c.replicas; len(s.plan.Moves) == 0 || s.tree.Visits > most {
			t.Errorf("%s: %d visits for %d moves, expected at most %d", c.name, s.tree.Visits, len(s.plan.Moves), most)
		} else {
			t.Logf("%s: %d visits for %d moves", c.name, s.tree.Visits, len(s.plan.Moves))
		}
	}
}
