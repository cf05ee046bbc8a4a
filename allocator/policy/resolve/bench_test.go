package resolve_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// large is an app with 100 000 shards on 1 000 servers, and what policies say of some of its shards.
func large(b *testing.B, entries int) placement.Input {
	var text strings.Builder
	text.WriteString("constraints:\n- {eligibility: {expression: 'server.labels[?\"disk\"].orValue(\"\") == \"ssd\"'}}\n- {spread: {domain: zone, at_most: 1}}\ngoals:\n- {tier: 1, region_preference: {regions: [eu, us]}}\n- {tier: 2, drain: {}}\n")
	if entries > 0 {
		text.WriteString("shards:\n")
	}
	for i := range entries {
		fmt.Fprintf(&text, "- {id: s%06d, moves: 2}\n", i)
	}
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 2, Primary: true, Written: written(b, text.String())}}
	for i := range 1000 {
		in.Servers = append(in.Servers, placement.Server{
			ID: shard.ServerID(fmt.Sprintf("s%04d.kv", i)), Labels: map[string]string{"disk": "ssd", "rack": fmt.Sprint(i % 40)},
			Locality: shard.Locality{Region: []string{"eu", "us"}[i%2], Zone: fmt.Sprint(i % 6)}, Capacity: map[string]int64{"disk": 1000, "shards": 500},
		})
	}
	for i := range 100_000 {
		in.Shards = append(in.Shards, placement.Shard{Index: shard.Index(i), ID: shard.ID(fmt.Sprintf("s%06d", i))})
	}
	return in
}

// BenchmarkResolve is what terms cost before a plan: when nothing changed, when a server did, and when the shards did. A plan of such an app takes
// a second.
func BenchmarkResolve(b *testing.B) {
	for _, entries := range []int{0, 100, 5000} {
		in := large(b, entries)
		changes := map[string]func(i int){
			"same":    func(int) {},
			"servers": func(i int) { in.Servers[0].Locality.Zone = fmt.Sprint(i) },
			"shards":  func(i int) { in.Shards[0].ID = shard.ID(fmt.Sprint(i)) },
		}
		for _, what := range []string{"same", "servers", "shards"} {
			b.Run(fmt.Sprintf("entries=%d/%s", entries, what), func(b *testing.B) {
				r := resolver(b, "")
				r.Resolve(b.Context(), &in, nil)
				for i := range b.N {
					changes[what](i)
					r.Resolve(b.Context(), &in, nil)
				}
			})
		}
	}
}
