package tally

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// spot is where a replica will be, in a role.
type spot struct {
	server int
	role   shard.Role
}

// spots are places with roles.
func (t *Tally) spots(i, k, at int, role shard.Role) []spot {
	list := make([]spot, 0, len(t.in.Shards[i].Replicas)+1)
	for j := range t.in.Shards[i].Replicas {
		r := &t.in.Shards[i].Replicas[j]
		if p := Place(r); j != k && p >= 0 && !r.Leaving {
			list = append(list, spot{p, r.Role})
		}
	}
	if at >= 0 {
		list = append(list, spot{at, role})
	}
	return list
}

// nearest counts microseconds from clients to the nearest replica of a shard, in the mean.
func (t *Tally) nearest(g terms.Goal) func(i int, list []spot) int64 {
	var trips [][]int64 // by client and server
	var shares []int64
	total := int64(0)
	for client, share := range g.Clients {
		alone, row := terms.Goal{Kind: terms.Latency, Clients: map[string]int64{client: 1}}, []int64(nil)
		for i := range t.in.Servers {
			row = append(row, alone.InRegion(t.in.Servers[i].Locality.Region, t.in.Apart))
		}
		trips, shares, total = append(trips, row), append(shares, share), total+share
	}
	return func(_ int, list []spot) (sum int64) {
		if len(list) == 0 {
			return 0
		}
		for c, row := range trips {
			near := slices.MinFunc(list, func(a, b spot) int { return int(row[a.server] - row[b.server]) })
			sum += shares[c] * row[near.server]
		}
		return sum / max(1, total)
	}
}

// traffic counts what that of a shard costs, in thousandths of millionths an hour: of its replicas with clients, or from its primary to the others.
func (t *Tally) traffic(g terms.Goal) func(i int, list []spot) int64 {
	m, price := t.position(g.Metric), map[[2]string]int64{}
	for _, r := range g.Traffic {
		price[[2]string{r.From, r.To}] = r.Cost
	}
	region := func(server int) string { return t.in.Servers[server].Locality.Region }
	if g.Clients == nil {
		return func(i int, list []spot) (sum int64) {
			for _, p := range list {
				for _, s := range list {
					if p.role == shard.Primary && s.role != shard.Primary {
						sum = load.Plus(sum, load.MulDiv(price[[2]string{region(p.server), region(s.server)}], t.load(i, s.role)[m], 1))
					}
				}
			}
			return sum
		}
	}
	total, row := int64(0), make([]int64, len(t.in.Servers))
	for _, share := range g.Clients {
		total += share
	}
	for server := range row {
		for client, share := range g.Clients {
			row[server] = load.Plus(row[server], load.MulDiv(price[[2]string{region(server), client}], share, total))
		}
	}
	return func(i int, list []spot) (sum int64) {
		for _, s := range list {
			sum = load.Plus(sum, load.MulDiv(row[s.server], t.load(i, s.role)[m], 1))
		}
		return sum
	}
}
