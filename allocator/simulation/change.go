package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Limits of changes.
const (
	MaxAdded  = 10_000 // servers
	million   = 1_000_000
	maxFactor = million * million
)

// Changes are what a simulation begins with. Losses come first, then the rest in the order of the fields.
type Changes struct {
	Drain       []shard.ServerID
	LoseServers []shard.ServerID
	LoseRegions []string
	LoseZones   []shard.Locality // by region and zone
	Add         []Addition
	Policy      *placement.Policy // nil: as it is
	Loads       []Load
	Factors     []Factor

	// Terms gives an input the terms of its policies, once the changes are made, and says what people should know of them; nil: there are none.
	Terms func(in *placement.Input) []string
}

// Addition is servers that join, each on a host of its own, with the median capacity of those that are there.
type Addition struct {
	Count int
	At    shard.Locality
}

// Load is another load of a shard.
type Load struct {
	Shard  shard.ID
	Metric string
	Value  int64
}

// Factor changes all loads in a metric.
type Factor struct {
	Metric     string
	Millionths int64
}

// ChangeError is a change that makes no sense for the app.
type ChangeError struct {
	Field    string // of the message SimulatedChanges
	Expected string
}

// Error implements error.
func (e *ChangeError) Error() string { return e.Field + ": expected " + e.Expected }

func refuse(field, format string, args ...any) error {
	return &ChangeError{Field: field, Expected: fmt.Sprintf(format, args...)}
}

// apply makes the changes to an input, which is a copy.
func (c Changes) apply(in placement.Input, r *Result) (placement.Input, error) {
	lost, err := c.lost(&in)
	if err != nil {
		return in, err
	}
	added, err := c.added(&in, r)
	if err != nil {
		return in, err
	}
	if err := c.drain(&in, lost); err != nil {
		return in, err
	}
	lose(&in, lost, r)
	join(&in, added)
	if c.Policy != nil {
		if c.Policy.Primary != in.Policy.Primary {
			return in, refuse("spec", "the same replication as before: an app with primaries keeps them, and one without gets none")
		}
		if c.Policy.Replicas != in.Policy.Replicas { // what replica_scaling wants is of the spec before
			for i := range in.Shards {
				in.Shards[i].Wanted = 0
			}
		}
		in.Policy = *c.Policy
	}
	return in, c.load(&in)
}

// lost is by position which servers are gone.
func (c Changes) lost(in *placement.Input) ([]bool, error) {
	lost := make([]bool, len(in.Servers))
	mark := func(is func(s *placement.Server) bool) (some bool) {
		for i := range in.Servers {
			if is(&in.Servers[i]) {
				lost[i], some = true, true
			}
		}
		return some
	}
	for _, id := range c.LoseServers {
		if !mark(func(s *placement.Server) bool { return s.ID == id }) {
			return nil, refuse("lose_servers", "%s, not %q", among("a server", in, serverID), id)
		}
	}
	for _, region := range c.LoseRegions {
		if !mark(func(s *placement.Server) bool { return s.Locality.Region == region && region != "" }) {
			return nil, refuse("lose_regions", "%s, not %q", among("a region", in, regionOf), region)
		}
	}
	for _, z := range c.LoseZones {
		if !mark(func(s *placement.Server) bool {
			return s.Locality.Region == z.Region && s.Locality.Zone == z.Zone && z.Zone != ""
		}) {
			return nil, refuse("lose_zones", "%s, not %q", among("a zone", in, zoneOf), z.Region+"/"+z.Zone)
		}
	}
	return lost, nil
}

func serverID(s *placement.Server) string { return string(s.ID) }
func regionOf(s *placement.Server) string { return s.Locality.Region }
func zoneOf(s *placement.Server) string {
	if s.Locality.Zone == "" {
		return ""
	}
	return s.Locality.Region + "/" + s.Locality.Zone
}

// among says what there is of something, so that who mistyped it sees what was meant.
func among(what string, in *placement.Input, name func(*placement.Server) string) string {
	names := map[string]bool{}
	for i := range in.Servers {
		if n := name(&in.Servers[i]); n != "" {
			names[n] = true
		}
	}
	return known(what, in.App, slices.Sorted(maps.Keys(names)))
}

// known lists the first of some names.
func known(what string, app shard.App, names []string) string {
	const most = 5
	if len(names) == 0 {
		return fmt.Sprintf("%s of %s, which has none", what, app)
	}
	more := ""
	if n := len(names) - most; n > 0 {
		names, more = names[:most], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s of %s (%s%s)", what, app, strings.Join(names, ", "), more)
}

func (c Changes) drain(in *placement.Input, lost []bool) error {
	for _, id := range c.Drain {
		i := slices.IndexFunc(in.Servers, func(s placement.Server) bool { return s.ID == id })
		switch {
		case i < 0:
			return refuse("drain", "%s, not %q", among("a server", in, serverID), id)
		case lost[i]:
			return refuse("drain", "a server that the other changes do not lose, not %q", id)
		}
		in.Servers[i].Accepts, in.Servers[i].Leaving = false, true
	}
	return nil
}

// lose takes servers away, with the replicas on them. What they were primary of waits for another.
func lose(in *placement.Input, lost []bool, r *Result) {
	if !slices.Contains(lost, true) {
		return
	}
	for i := range in.Shards {
		s := &in.Shards[i]
		before, p := len(s.Replicas), s.Primary()
		if p != nil && p.On >= 0 && lost[p.On] {
			r.PrimariesLost++
			s.Urgent, s.Pinned = true, false
		}
		s.Replicas = slices.DeleteFunc(s.Replicas, func(r placement.Replica) bool { return r.On >= 0 && lost[r.On] })
		if before > 0 && len(s.Replicas) == 0 {
			r.ShardsLost++
		}
	}
	for i := len(in.Servers) - 1; i >= 0; i-- {
		if lost[i] {
			in.Servers[i].ID = "" // join leaves it out
		}
	}
	join(in, nil)
}

// join adds servers and leaves out those without an id, and puts all in the order of ids again.
func join(in *placement.Input, added []placement.Server) {
	type seat struct {
		placement.Server
		was int
	}
	var seats []seat
	for i, s := range in.Servers {
		if s.ID != "" {
			seats = append(seats, seat{s, i})
		}
	}
	for _, s := range added {
		seats = append(seats, seat{s, -1})
	}
	slices.SortStableFunc(seats, func(a, b seat) int { return cmp.Compare(a.ID, b.ID) })
	now := make([]int, len(in.Servers))
	in.Servers = make([]placement.Server, len(seats))
	for i, s := range seats {
		in.Servers[i] = s.Server
		if s.was >= 0 {
			now[s.was] = i
		}
	}
	for i := range in.Shards {
		for k := range in.Shards[i].Replicas {
			if r := &in.Shards[i].Replicas[k]; r.On >= 0 {
				r.On = now[r.On]
			}
		}
	}
}

// added makes the servers that join.
func (c Changes) added(in *placement.Input, r *Result) (list []placement.Server, err error) {
	if len(c.Add) == 0 {
		return nil, nil
	}
	taken := map[shard.ServerID]bool{}
	for i := range in.Servers {
		taken[in.Servers[i].ID] = true
	}
	if len(in.Servers) == 0 {
		r.Notes = append(r.Notes, "the app has no server: those added have no limits")
	}
	capacity, number := MedianCapacity(in.Servers), 0
	for _, a := range c.Add {
		if a.Count < 1 || a.Count > MaxAdded-len(list) {
			return nil, refuse("add_servers", "1 to %d servers in all, not %d", MaxAdded, a.Count)
		}
		if a.At.Region == "" && a.At.Zone+a.At.Rack != "" || a.At.Zone == "" && a.At.Rack != "" {
			return nil, refuse("add_servers", "a zone only in a region, and a rack only in a zone")
		}
		for range a.Count {
			id := shard.ServerID("")
			for id == "" || taken[id] {
				number++
				id = shard.MakeServerID(fmt.Sprintf("simulated-%d", number), in.App)
			}
			list = append(list, placement.Server{ID: id, Locality: a.At, Capacity: capacity, Accepts: true})
		}
	}
	return list, nil
}

// MedianCapacity is per metric the median of servers; unlimited counts as more than any number.
func MedianCapacity(servers []placement.Server) map[string]int64 {
	values := map[string][]int64{}
	for i := range servers {
		for metric, n := range servers[i].Capacity {
			values[metric] = append(values[metric], n)
		}
	}
	capacity := map[string]int64{}
	for metric, list := range values {
		slices.Sort(list)
		if at := (len(servers) - 1) / 2; at < len(list) {
			capacity[metric] = list[at]
		}
	}
	return capacity
}

// load changes loads.
func (c Changes) load(in *placement.Input) error {
	metrics := map[string]bool{}
	for l := range everyLoad(in) {
		for name := range l {
			metrics[name] = true
		}
	}
	delete(metrics, placement.MetricShards)
	delete(metrics, placement.MetricPrimaries)
	check := func(field, metric string) error {
		if metrics[metric] {
			return nil
		}
		return refuse(field, "%s that is measured or declared, not %q", known("a metric", in.App, slices.Sorted(maps.Keys(metrics))), metric)
	}
	for _, f := range c.Factors {
		if err := check("load_factors", f.Metric); err != nil {
			return err
		}
		if f.Millionths < 0 || f.Millionths > maxFactor {
			return refuse("load_factors", "a factor of 0 to %d, not %d millionths", maxFactor/million, f.Millionths)
		}
		for i := range in.Shards {
			if n, has := in.Shards[i].Load[f.Metric]; has {
				setLoad(&in.Shards[i], f.Metric, load.MulDiv(n, f.Millionths, million))
			}
		}
	}
	for _, l := range c.Loads {
		if err := check("loads", l.Metric); err != nil {
			return err
		}
		i := slices.IndexFunc(in.Shards, func(s placement.Shard) bool { return s.ID == l.Shard && !hole(&s) })
		switch {
		case i < 0:
			return refuse("loads", "the id of a shard of %s, as `shardmanager map %s` shows it, not %q", in.App, in.App, l.Shard)
		case l.Value < 0 || l.Value == math.MaxInt64:
			return refuse("loads", "a load of 0 or more, not %d", l.Value)
		}
		setLoad(&in.Shards[i], l.Metric, l.Value)
	}
	return nil
}

// setLoad gives a shard loads of its own: those of an input are shared.
func setLoad(s *placement.Shard, metric string, value int64) {
	own := map[string]int64{}
	maps.Copy(own, s.Load)
	own[metric] = value
	s.Load = own
}
