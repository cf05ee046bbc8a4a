package simulation

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// A server counts as full above this share of a capacity; so many of them are named.
const (
	fullPercent = 90
	maxFull     = 100
)

// State is how an app stands.
type State struct {
	Servers, Accepting int
	Shards, Replicas   int
	Unplaced           int // shards without a primary; in an app without primaries: without any replica
	Missing            int // replicas fewer than wanted
	Leaving            int // replicas on servers that are drained
	Awaited            int // replicas on servers that are not there, and waited for
	SpreadBroken       int // shards with replicas too near to each other
	RegionsShort       int // shards with too few replicas in a region
	Primaries          int
	InFirst            int // primaries in the best preferred region that has servers
	InPreferred        int // in any preferred region
	Regions            []Region
	Balance            []Balance
	Full               []Use // servers above 90 % of a capacity, the fullest first; not all of them if they are many
	FullCount          int
	OverCapacity       int            // of them, those beyond it
	Broken             []tally.Breach // constraints that do not hold, of the policy that holds after the changes
}

// Region is how many there are in one.
type Region struct {
	Name                         string
	Servers, Replicas, Primaries int
}

// Use is what a server carries of a metric.
type Use struct {
	Server          shard.ServerID
	Metric          string
	Load            int64
	SharePercent    int64 // of its fair share, by capacity where every server has one
	Capacity        int64 // −1: unlimited
	CapacityPercent int64 // likewise
}

// stand is how the app of an input stands, no move being under way. Of regional metrics, each region's balance is told too.
func stand(in *placement.Input, regional map[string]bool) State {
	s := State{Servers: len(in.Servers)}
	metrics := load.MetricsOf(everyLoad(in))
	used := load.Vectors(len(in.Servers), metrics.Len())
	regions := map[string]*Region{}
	for i := range in.Servers {
		name := in.Servers[i].Locality.Region
		if regions[name] == nil {
			regions[name] = &Region{Name: name}
		}
		regions[name].Servers++
		if in.Servers[i].Accepts {
			s.Accepting++
		}
	}
	one := make(load.Vector, metrics.Len())
	for i := range in.Shards {
		if !hole(&in.Shards[i]) {
			s.count(in, i, regions)
			addUse(&in.Shards[i], metrics, used, one)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(regions)) {
		s.Regions = append(s.Regions, *regions[name])
	}
	s.preferred(in, regions)
	for m := range metrics.Len() {
		s.balance(in, metrics.Name(m), m, used, regional)
	}
	s.full(in, metrics, used)
	return s
}

// everyLoad yields whatever names metrics.
func everyLoad(in *placement.Input) iter.Seq[map[string]int64] {
	return func(yield func(map[string]int64) bool) {
		if in.Policy.Primary && in.Policy.Replicas > 1 && !yield(map[string]int64{placement.MetricPrimaries: 1}) {
			return
		}
		for i := range in.Servers {
			if !yield(in.Servers[i].Capacity) {
				return
			}
		}
		for i := range in.Shards {
			if !yield(in.Shards[i].Load) {
				return
			}
		}
	}
}

// addUse adds what a shard loads its servers with.
func addUse(sh *placement.Shard, metrics load.Metrics, used []load.Vector, scratch load.Vector) {
	metrics.Fill(scratch, sh.Load, 0)
	primaries := -1
	for m := range scratch {
		if metrics.Name(m) == placement.MetricPrimaries {
			primaries = m
		}
	}
	for _, r := range sh.Replicas {
		if r.On < 0 {
			continue
		}
		if primaries >= 0 {
			scratch[primaries] = 0
			if r.Role == shard.Primary {
				scratch[primaries] = 1
			}
		}
		used[r.On].Add(scratch)
	}
}

// unplaced reports whether nobody can serve a shard.
func unplaced(in *placement.Input, s *placement.Shard) bool {
	return len(s.Replicas) == 0 || in.Policy.Primary && s.Primary() == nil
}

// count adds one shard.
func (s *State) count(in *placement.Input, i int, regions map[string]*Region) {
	sh := &in.Shards[i]
	s.Shards++
	s.Replicas += len(sh.Replicas)
	s.Missing += max(0, in.Wanted(i)-len(sh.Replicas))
	if unplaced(in, sh) {
		s.Unplaced++
	}
	there := map[string]int{}
	for _, r := range sh.Replicas {
		if r.On < 0 {
			s.Awaited++
			continue
		}
		at := &in.Servers[r.On]
		if at.Leaving {
			s.Leaving++
		}
		there[at.Locality.Region]++
		regions[at.Locality.Region].Replicas++
		if r.Role == shard.Primary {
			s.Primaries++
			regions[at.Locality.Region].Primaries++
		}
	}
	if near(in, sh) {
		s.SpreadBroken++
	}
	for region, least := range in.Policy.Regions {
		if there[region] < least {
			s.RegionsShort++
			break
		}
	}
}

// near reports whether two replicas of a shard are nearer to each other than the policy allows.
func near(in *placement.Input, sh *placement.Shard) bool {
	width := max(in.Policy.Spread, locality.Host)
	for k, a := range sh.Replicas {
		for _, b := range sh.Replicas[:k] {
			if a.On >= 0 && b.On >= 0 && (a.On == b.On || locality.Shared(in.Servers[a.On].Locality, in.Servers[b.On].Locality, width)) {
				return true
			}
		}
	}
	return false
}

// preferred counts primaries where they should be.
func (s *State) preferred(in *placement.Input, regions map[string]*Region) {
	first := true
	for _, name := range in.Policy.PreferRegions {
		r := regions[name]
		if r == nil {
			continue
		}
		if first {
			s.InFirst, first = r.Primaries, false
		}
		s.InPreferred += r.Primaries
	}
}

// full finds the servers that are near a capacity, or beyond it.
func (s *State) full(in *placement.Input, metrics load.Metrics, used []load.Vector) {
	for i := range in.Servers {
		over := false
		for m := range metrics.Len() {
			u := use(in, i, metrics.Name(m), used[i][m])
			if u.Capacity >= 0 && u.CapacityPercent > fullPercent {
				s.Full = append(s.Full, u)
				over = over || u.Load > u.Capacity
			}
		}
		if over {
			s.OverCapacity++
		}
	}
	slices.SortStableFunc(s.Full, func(a, b Use) int { return cmp.Compare(b.CapacityPercent, a.CapacityPercent) })
	servers := map[shard.ServerID]bool{}
	for _, u := range s.Full {
		servers[u.Server] = true
	}
	s.FullCount = len(servers)
	s.Full = s.Full[:min(len(s.Full), maxFull)]
}

func use(in *placement.Input, server int, metric string, n int64) Use {
	u := Use{Server: in.Servers[server].ID, Metric: metric, Load: n, Capacity: -1, CapacityPercent: -1}
	if capacity, has := in.Servers[server].Capacity[metric]; has {
		u.Capacity, u.CapacityPercent = capacity, load.MulDiv(n, 100, max(1, capacity))
	}
	return u
}
