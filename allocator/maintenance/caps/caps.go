// Package caps says whether servers may be taken down together: under the caps of their apps and of the cluster, with everything counted that is
// down already (PROTOCOL R29). It is pure, and keeps nothing.
//
// Called by allocator/maintenance, which decides about pieces of planned events, with a view that the ledger made.
package caps

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Caps of an app on planned events. nil means the default.
type Caps struct {
	Unavailable *int     // replicas of a shard that may be unavailable at once; default 1
	Down        *int     // servers down at once; default a tenth of them, at least 1
	DownRegion  *int     // of one region; default no cap of its own
	Windows     []Window // in which pieces may be approved; none: at any time
	Everything  bool     // a restart takes all replicas off a server, not only primaries
}

const (
	windowsMost = 16
	capMost     = 1 << 20
)

// Check says which field of an app's caps is wrong, and what was expected; empty: none.
func (c Caps) Check() (field, expected string) {
	for _, most := range []struct {
		field string
		n     *int
	}{{"max_unavailable_replicas", c.Unavailable}, {"max_servers_down", c.Down}, {"max_servers_down_per_region", c.DownRegion}} {
		if most.n != nil && (*most.n < 0 || *most.n > capMost) {
			return most.field, fmt.Sprintf("0 to %d, not %d", capMost, *most.n)
		}
	}
	if len(c.Windows) > windowsMost {
		return "windows", fmt.Sprintf("at most %d, not %d", windowsMost, len(c.Windows))
	}
	for i, w := range c.Windows {
		if field, expected := w.Check(); field != "" {
			return fmt.Sprintf("windows[%d].%s", i, field), expected
		}
	}
	return "", ""
}

// MayBeDown is how many of an app's servers may be down at once.
func (c Caps) MayBeDown(servers int) int {
	if c.Down != nil {
		return *c.Down
	}
	return max(1, servers/10)
}

// Cluster caps what is down over all apps. 0: no cap.
type Cluster struct{ Down, DownRegion int }

// Server is a server as it counts here.
type Server struct {
	ID          shard.ServerID
	App         shard.App
	Locality    shard.Locality
	Everywhere  bool              // nobody knows where it is: it counts in every region
	Incarnation shard.Incarnation // present; 0: none
	Down        string            // why it counts as down by itself; empty: it does not
	Primaries   int
	Promotable  int // of them, those that a secondary in sync could take over
	Replicas    int // the primaries included
	Moves       int // under way, from or to it
}

// Exposure is the shard of an app that would have most replicas unavailable.
type Exposure struct {
	Shard       shard.ID
	Unavailable int // replicas, with the servers in question down
	Here        int // of them, on those servers
}

func (s *Server) in(region string) bool { return s.Everywhere || s.Locality.Region == region }

// Needs is what an app must have servers for.
type Needs struct {
	Replicas int             // of each shard, at least
	Regions  map[string]int  // of these, those that must be in a region; never modified
	Spread   locality.Domain // two replicas of a shard never share a domain of this width
}

// View is the fleet at one moment.
type View struct {
	Servers []Server // by id
	Needs   map[shard.App]Needs
	Apps    map[shard.App]Caps
	Cluster Cluster
	Hold    string // why nothing may be taken down now; empty: it may

	// Exposed is the worst shard of an app if these servers went down, of those with a replica there.
	Exposed func(app shard.App, servers []shard.ServerID) Exposure
}

// Find is a server of the view; nil: it is unknown.
func (v *View) Find(id shard.ServerID) *Server {
	i, ok := slices.BinarySearchFunc(v.Servers, id, func(s Server, id shard.ServerID) int {
		switch {
		case s.ID < id:
			return -1
		case s.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &v.Servers[i]
}

// Refusal is why servers may not be taken down together.
type Refusal struct {
	Why   string
	Never bool // nor at any other time, as caps and servers are
}

// Weigh says whether servers may be taken down together, now; an empty refusal: they may. taken are those that are taken down already, or may
// be: each counts once, whatever else is the matter with it.
func (v *View) Weigh(ids []shard.ServerID, taken map[shard.ServerID]bool) Refusal {
	if v.Hold != "" {
		return Refusal{Why: v.Hold}
	}
	apps, regions := map[shard.App][]shard.ServerID{}, map[string]int{}
	for _, id := range ids {
		if s := v.Find(id); s != nil {
			apps[s.App] = append(apps[s.App], id)
			regions[s.Locality.Region]++
		}
	}
	for _, app := range shard.SortedKeys(apps) {
		if r := v.weighApp(app, apps[app], taken); r.Why != "" {
			return r
		}
	}
	all := v.down(ids, taken, func(*Server) bool { return true })
	if most := v.Cluster.Down; most > 0 && all+len(ids) > most {
		return Refusal{fmt.Sprintf("the allocators' max_servers_down is %d; %d others are down", most, all), len(ids) > most}
	}
	for _, region := range shard.SortedKeys(regions) {
		others := v.down(ids, taken, func(s *Server) bool { return s.in(region) })
		if most, n := v.Cluster.DownRegion, regions[region]; most > 0 && others+n > most {
			return Refusal{fmt.Sprintf("the allocators' max_servers_down_per_region is %d; %d others are down in %s", most, others, region), n > most}
		}
	}
	for _, app := range shard.SortedKeys(apps) {
		if r := v.weighShards(app, apps[app]); r.Why != "" {
			return r
		}
	}
	return Refusal{}
}

// down counts the servers that are down and not in question.
func (v *View) down(ids []shard.ServerID, taken map[shard.ServerID]bool, of func(*Server) bool) int {
	n := 0
	for i := range v.Servers {
		s := &v.Servers[i]
		if (s.Down != "" || taken[s.ID]) && of(s) && !slices.Contains(ids, s.ID) {
			n++
		}
	}
	return n
}

func (v *View) weighApp(app shard.App, ids []shard.ServerID, taken map[shard.ServerID]bool) Refusal {
	caps := v.Apps[app]
	total, regions := 0, map[string]int{}
	for i := range v.Servers {
		if v.Servers[i].App == app {
			total++
		}
	}
	most, name := caps.MayBeDown(total), "the default of maintenance.max_servers_down"
	if caps.Down != nil {
		name = "maintenance.max_servers_down"
	}
	others := v.down(ids, taken, func(s *Server) bool { return s.App == app })
	if others+len(ids) > most {
		return Refusal{fmt.Sprintf("app %s: %s is %d of %d servers; %d others are down", app, name, most, total, others), len(ids) > most}
	}
	if caps.DownRegion == nil {
		return Refusal{}
	}
	for _, id := range ids {
		regions[v.Find(id).Locality.Region]++
	}
	for _, region := range shard.SortedKeys(regions) {
		others := v.down(ids, taken, func(s *Server) bool { return s.App == app && s.in(region) })
		if n, most := regions[region], *caps.DownRegion; others+n > most {
			return Refusal{fmt.Sprintf("app %s: maintenance.max_servers_down_per_region is %d; %d others are down in %s", app, most, others, region), n > most}
		}
	}
	return Refusal{}
}

func (v *View) weighShards(app shard.App, ids []shard.ServerID) Refusal {
	most := 1
	if u := v.Apps[app].Unavailable; u != nil {
		most = *u
	}
	if most == 0 {
		return Refusal{fmt.Sprintf("app %s: maintenance.max_unavailable_replicas is 0", app), true}
	}
	e := v.Exposed(app, ids)
	if e.Here == 0 || e.Unavailable <= most {
		return Refusal{}
	}
	return Refusal{Why: fmt.Sprintf("app %s: maintenance.max_unavailable_replicas is %d; shard %s would have %d unavailable, %d of them elsewhere", app, most, e.Shard,
		e.Unavailable, e.Unavailable-e.Here)}
}

// Shut says whether the windows of the servers' apps keep them from being down for so long from now on; an empty refusal: they do not.
func (v *View) Shut(ids []shard.ServerID, now time.Time, duration time.Duration) Refusal {
	for _, id := range ids {
		s := v.Find(id)
		if s == nil || len(v.Apps[s.App].Windows) == 0 {
			continue
		}
		var longest time.Duration
		var opens time.Time
		open := false
		for _, w := range v.Apps[s.App].Windows {
			longest = max(longest, w.Length)
			open = open || w.left(now) >= duration
			if next := w.next(now); opens.IsZero() || next.Before(opens) {
				opens = next
			}
		}
		switch {
		case longest < duration:
			return Refusal{fmt.Sprintf("app %s: no maintenance window is as long as the duration, %s", s.App, duration), true}
		case !open:
			return Refusal{Why: fmt.Sprintf("app %s: outside its maintenance windows, or less than %s of one is left; the next opens at %s", s.App, duration, opens.Format(time.RFC3339))}
		}
	}
	return Refusal{}
}
