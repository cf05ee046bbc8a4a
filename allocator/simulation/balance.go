package simulation

import (
	"math"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/load"
)

// Balance is how evenly the servers that take shards carry one metric.
type Balance struct {
	Metric            string
	Region            string // of its servers only; empty: of all
	Servers           int
	Fullest, Emptiest Use   // by fair share
	Mean              int64 // load
	Deviation         int64 // standard deviation of what they have of their fair shares, in thousandths of one
	CapacityPercent   int64 // used of all capacity; -1: not every server has one
	MostPercent       int64 // used of the capacity of the server of which most is; likewise
}

// balance tells how even a metric is among all servers that take shards and, if it is regional, among those of each region.
func (s *State) balance(in *placement.Input, metric string, m int, used []load.Vector, regional map[string]bool) {
	var all []int
	byRegion := map[string][]int{}
	for i := range in.Servers {
		if in.Servers[i].Accepts {
			all = append(all, i)
			region := in.Servers[i].Locality.Region
			byRegion[region] = append(byRegion[region], i)
		}
	}
	s.even(in, Balance{Metric: metric}, m, used, all)
	if !regional[metric] {
		return
	}
	for _, r := range s.Regions {
		if r.Name != "" {
			s.even(in, Balance{Metric: metric, Region: r.Name}, m, used, byRegion[r.Name])
		}
	}
}

// even tells how even a metric is among some servers.
func (s *State) even(in *placement.Input, b Balance, m int, used []load.Vector, servers []int) {
	limited, total, weights, capacity := true, int64(0), int64(0), int64(0)
	for _, i := range servers {
		c, has := in.Servers[i].Capacity[b.Metric]
		limited = limited && has
		total, capacity = load.Plus(total, used[i][m]), load.Plus(capacity, max(0, c))
	}
	weight := func(i int) int64 {
		if !limited {
			return 1
		}
		return max(0, in.Servers[i].Capacity[b.Metric])
	}
	for _, i := range servers {
		weights = load.Plus(weights, weight(i))
	}
	b.Servers, b.CapacityPercent, b.MostPercent = len(servers), -1, -1
	squares, parts := float64(0), float64(0)
	for _, i := range servers {
		w := weight(i)
		if w <= 0 || total <= 0 {
			continue
		}
		u := use(in, i, b.Metric, used[i][m])
		// In millionths of the server's weight first: that neither overflows nor rounds a small share away.
		share := load.MulDiv(load.MulDiv(u.Load, million, w), weights, total)
		u.SharePercent = share / (million / 100)
		if b.Fullest.Server == "" || u.SharePercent > b.Fullest.SharePercent {
			b.Fullest = u
		}
		if b.Emptiest.Server == "" || u.SharePercent < b.Emptiest.SharePercent {
			b.Emptiest = u
		}
		off := float64(share)/million - 1
		squares, parts = squares+off*off, parts+1
		b.MostPercent = max(b.MostPercent, u.CapacityPercent)
	}
	if b.Fullest.Server == "" {
		return
	}
	b.Mean, b.Deviation = total/int64(len(servers)), int64(math.Round(1000*math.Sqrt(squares/parts)))
	if limited {
		b.CapacityPercent = load.MulDiv(total, 100, max(1, capacity))
	} else {
		b.MostPercent = -1
	}
	s.Balance = append(s.Balance, b)
}
