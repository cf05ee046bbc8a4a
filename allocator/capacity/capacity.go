// Package capacity says how many servers an app needs: for its load at a utilisation, for its replicas to be apart, and so that planned events may take
// as many as their caps let them. It is pure.
//
// It is advice for whoever adds and removes servers; the allocator does neither. Called by allocator/api.
package capacity

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/simulation"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Aim is what servers are to use of their capacity. 0 means the default.
type Aim struct {
	Utilisation int // percent
	Tolerance   int // percent of that: servers are needless only once so much less is used
}

const (
	defaultUtilisation = 70
	defaultTolerance   = 10
	toleranceMost      = 90
	serversMost        = 1 << 20
)

// Check says what is wrong with an aim: the field, and what is expected there; both are empty if nothing is.
func (a Aim) Check() (field, expected string) {
	switch {
	case a.Utilisation < 0 || a.Utilisation > 100:
		return "utilisation_percent", fmt.Sprintf("1 to 100, or 0 for the default (%d), not %d", defaultUtilisation, a.Utilisation)
	case a.Tolerance < 0 || a.Tolerance > toleranceMost:
		return "tolerance_percent", fmt.Sprintf("0 (the default, %d) to %d, not %d", defaultTolerance, toleranceMost, a.Tolerance)
	}
	return "", ""
}

// Advice is how many servers an app needs. Those that take shards count.
type Advice struct {
	Servers int
	Wanted  int // Servers, if that is from Least to Most, else the nearer of these; never fewer than Servers while there is a Hold
	Least   int
	Most    int
	Why     string // what Least comes from, for people
	Hold    string // why no server should be removed now, for people; empty: nothing is against it
	Regions []Region
	Metrics []Metric
}

// Region is the servers of one region.
type Region struct {
	Name    string
	Servers int
	Least   int // that replicas must be in, with as many down as may be
}

// Metric is what a load takes.
type Metric struct {
	Name    string
	Load    int64 // of all replicas that are wanted
	Server  int64 // what one server has
	Percent int   // of what all servers have
	Servers int   // at the utilisation aimed at
}

// Advise says how many servers an app needs, as placement sees it.
func Advise(in placement.Input, limits caps.Caps, aim Aim) Advice {
	in.Shards = slices.DeleteFunc(slices.Clone(in.Shards), func(s placement.Shard) bool { return s.ID == "" }) // indexes that no shard has
	return advise(&in, limits, aim)
}

func advise(in *placement.Input, limits caps.Caps, aim Aim) Advice {
	aim.Utilisation, aim.Tolerance = cmp.Or(aim.Utilisation, defaultUtilisation), cmp.Or(aim.Tolerance, defaultTolerance)
	a := Advice{Hold: hold(in)}
	var there []placement.Server
	for _, s := range in.Servers {
		if s.Accepts {
			there = append(there, s)
		}
	}
	a.Servers = len(there)
	a.Metrics = metrics(in, there, aim.Utilisation)
	a.Regions = regions(in, there, limits)
	a.Least, a.Why = a.least(in, limits, aim.Utilisation, 100)
	most, _ := a.least(in, limits, max(1, aim.Utilisation*(100-aim.Tolerance)/100), 100-aim.Tolerance)
	a.Most = max(a.Least, most)
	a.Wanted = min(max(a.Servers, a.Least), a.Most)
	if a.Hold != "" {
		a.Wanted = max(a.Wanted, a.Servers)
	}
	return a
}

// metrics sums up the loads that servers limit. One that most servers do not limit is no reason for more of them.
func metrics(in *placement.Input, there []placement.Server, percent int) (list []Metric) {
	has := simulation.MedianCapacity(there)
	for _, name := range shard.SortedKeys(has) {
		m := Metric{Name: name, Server: has[name]}
		for i := range in.Shards {
			each, n := in.Shards[i].Load[name], int64(in.Wanted(i))
			if name == placement.MetricPrimaries && in.Policy.Primary {
				each, n = 1, 1
			}
			m.Load = load.Plus(m.Load, load.MulDiv(each, n, 1))
		}
		m.Servers = servers(m.Load, m.Server, percent)
		m.Percent = int(min(load.MulDiv(m.Load, 100, load.MulDiv(m.Server, int64(len(there)), 1)), math.MaxInt32))
		list = append(list, m)
	}
	return list
}

// servers is how many of them have a load if each uses so many percent of what it has.
func servers(total, each int64, percent int) int {
	if total <= 0 {
		return 0
	}
	usable := load.MulDiv(each, int64(percent), 100)
	if usable == 0 || (total-1)/usable >= serversMost {
		return serversMost
	}
	return int((total-1)/usable + 1)
}

// regions are those with servers, and those that must have replicas.
func regions(in *placement.Input, there []placement.Server, limits caps.Caps) (list []Region) {
	all := map[string]*Region{}
	at := func(name string) *Region {
		if all[name] == nil {
			all[name] = &Region{Name: name}
		}
		return all[name]
	}
	for i := range there {
		at(there[i].Locality.Region).Servers++
	}
	for name, n := range in.Policy.Regions {
		down := limits.MayBeDown(len(there))
		if limits.DownRegion != nil {
			down = min(down, *limits.DownRegion)
		}
		at(name).Least = n + down
	}
	for _, name := range shard.SortedKeys(all) {
		list = append(list, *all[name])
	}
	return list
}

// least is how few servers do at a utilisation, at full use while as many are down as may be, and what that comes from.
func (a *Advice) least(in *placement.Input, limits caps.Caps, percent, full int) (n int, why string) {
	up, because := 1, "one server"
	for i := range in.Shards {
		if r := in.Wanted(i); r > up {
			up, because = r, fmt.Sprintf("%d replicas of a shard, each on a server of its own", r)
		}
	}
	for _, m := range a.Metrics {
		if most := servers(m.Load, m.Server, full); most > up {
			up, because = most, fmt.Sprintf("%d of %s, on servers with %d", m.Load, m.Name, m.Server)
		}
	}
	for n = up; n-limits.MayBeDown(n) < up; n++ { // a tenth at most, or a number
	}
	why = fmt.Sprintf("%s; and %d that may be down at once", because, n-up)
	for _, m := range a.Metrics {
		if need := servers(m.Load, m.Server, percent); need > n {
			n, why = need, fmt.Sprintf("%d of %s, on servers with %d, used to %d %%", m.Load, m.Name, m.Server, percent)
		}
	}
	sum := 0
	for _, r := range a.Regions {
		sum += r.Least
	}
	if sum > n {
		n, why = sum, "region_replicas, with as many servers of each region as may be down at once"
	}
	return n, why
}

// hold says why no server should be removed now.
func hold(in *placement.Input) string {
	for i := range in.Servers {
		switch s := &in.Servers[i]; {
		case s.Leaving || s.Planned || s.Demotes || s.Yields:
			return fmt.Sprintf("%s is to go down, or is drained", s.ID)
		case !s.Accepts:
			return fmt.Sprintf("%s takes no shards now", s.ID)
		case s.Moves > 0:
			return fmt.Sprintf("%d moves from or to %s are under way", s.Moves, s.ID)
		}
	}
	for i := range in.Shards {
		if n := len(in.Shards[i].Replicas); n < in.Wanted(i) {
			return fmt.Sprintf("shard %s has %d of %d replicas", in.Shards[i].ID, n, in.Wanted(i))
		}
	}
	return ""
}
