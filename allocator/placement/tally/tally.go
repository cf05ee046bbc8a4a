// Package tally counts what the goals of an app cost and which constraints are broken, by the definitions of docs/policy.md and in units that
// people know: places in a list, milliseconds, parts of a fair share.
//
// It has no part in planning. The solver has sums and units of its own, made for speed; this is counted apart from it, from the input alone, so
// that a mistake in either shows. Called by placement/explain and simulation. It decides nothing, and keeps nothing between two inputs.
package tally

import (
	"iter"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/field"
	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Tally is an app counted out. Positions are those of its input, which it only reads.
type Tally struct {
	in        *placement.Input
	metrics   load.Metrics
	primaries int              // position of the metric that counts primaries; -1: nothing depends on it
	loads     [2][]load.Vector // of a replica, by shard: of a secondary and of a primary
	capacity  []load.Vector    // by server
	charged   []load.Vector    // by server: a replica in motion counts at both ends
	settled   []load.Vector    // by server: it counts where it will be
	replicas  []int            // by server: that will be there
	average   load.Vector
	where     *field.Map

	ofShards  [][]aim // by class, the most important first
	ofServers []aim   // likewise
}

// New counts an input.
func New(in *placement.Input) *Tally {
	t := &Tally{in: in, metrics: load.MetricsOf(named(in)), primaries: -1, replicas: make([]int, len(in.Servers))}
	n := t.metrics.Len()
	for m := range n {
		if t.metrics.Name(m) == placement.MetricPrimaries {
			t.primaries = m
		}
	}
	t.capacity, t.charged, t.settled = load.Vectors(len(in.Servers), n), load.Vectors(len(in.Servers), n), load.Vectors(len(in.Servers), n)
	for i := range in.Servers {
		t.metrics.Fill(t.capacity[i], in.Servers[i].Capacity, load.Unlimited)
	}
	t.average = make(load.Vector, n)
	t.loads[0], t.loads[1] = load.Vectors(len(in.Shards), n), load.Vectors(len(in.Shards), n)
	for i := range in.Shards {
		for of := range t.loads {
			t.metrics.Fill(t.loads[of][i], in.Shards[i].Load, 0)
			if t.primaries >= 0 {
				t.loads[of][i][t.primaries] = int64(of)
			}
		}
		t.average.Add(t.loads[1][i])
		t.count(i)
	}
	for m := range t.average {
		t.average[m] /= int64(max(1, len(in.Shards)))
	}
	t.layOut()
	t.collect()
	return t
}

// named yields whatever names metrics.
func named(in *placement.Input) iter.Seq[map[string]int64] {
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

// count adds the replicas of a shard.
func (t *Tally) count(i int) {
	for k := range t.in.Shards[i].Replicas {
		r := &t.in.Shards[i].Replicas[k]
		l := t.load(i, r.Role)
		at := Place(r)
		if r.On >= 0 {
			t.charged[r.On].Add(l)
		}
		if at >= 0 && at != r.On {
			t.charged[at].Add(l)
		}
		if at >= 0 && !r.Leaving {
			t.settled[at].Add(l)
			t.replicas[at]++
		}
	}
}

// layOut finds the fault domains, and how much primaries prefer which region.
func (t *Tally) layOut() {
	sites := make([]field.Site, len(t.in.Servers))
	for i := range sites {
		sites[i] = field.Site{Locality: t.in.Servers[i].Locality, Accepts: t.in.Servers[i].Accepts}
	}
	var prefer [][]string
	if p := t.in.Policy.PreferRegions; t.in.Policy.Primary && len(p) > 0 {
		prefer = field.Preferences(p, t.in.Apart.Ranks(p[0]))
	}
	t.where = field.NewMap(sites, t.in.Policy.Regions, prefer)
}

func (t *Tally) load(i int, role shard.Role) load.Vector {
	if role == shard.Primary {
		return t.loads[1][i]
	}
	return t.loads[0][i]
}

// Place is where a replica will be: where it moves to, or is; -1: a server that is not in the input.
func Place(r *placement.Replica) int {
	if r.To >= 0 {
		return r.To
	}
	return r.On
}

// places are where the replicas of a shard will be, but for number k, which is at instead; -1 is nowhere.
func (t *Tally) places(i, k, at int) []int {
	list := make([]int, 0, len(t.in.Shards[i].Replicas)+1)
	for j := range t.in.Shards[i].Replicas {
		r := &t.in.Shards[i].Replicas[j]
		if p := Place(r); j != k && p >= 0 && !r.Leaving {
			list = append(list, p)
		}
	}
	if at >= 0 {
		list = append(list, at)
	}
	return list
}

// at is where replica k of a shard will be; -1: nowhere, as one more.
func (t *Tally) at(i, k int) int {
	if k < 0 {
		return -1
	}
	return Place(&t.in.Shards[i].Replicas[k])
}

// domain is the number of a server's domain.
func (t *Tally) domain(o terms.Over, server int) int {
	if o.Width == 0 {
		return int(t.in.Terms.Labels[o.Label].Domain[server])
	}
	return t.where.Domains[o.Width][server].From
}

// over names what is counted over, and domainName one of it.
func (t *Tally) over(o terms.Over) string {
	if o.Width == 0 {
		return "label " + t.in.Terms.Labels[o.Label].Key
	}
	return o.Width.String()
}

func (t *Tally) domainName(o terms.Over, server int) string {
	at := &t.in.Servers[server]
	if o.Width == 0 {
		l := &t.in.Terms.Labels[o.Label]
		return l.Key + "=" + l.Values[l.Domain[server]]
	}
	l, name := at.Locality, ""
	parts := []string{l.Host, l.Rack, l.Zone, l.Region}[o.Width-locality.Host:]
	for _, part := range slices.Backward(parts) {
		if part != "" {
			name += "/" + part
		}
	}
	switch {
	case name == "" && o.Width == locality.Host:
		return "host of " + string(at.ID)
	case name == "":
		return "the unnamed " + o.Width.String()
	}
	return o.Width.String() + " " + name[1:]
}

// class is what policies say of a shard; nil: nothing.
func (t *Tally) class(i int) *terms.Class {
	if t.in.Terms == nil {
		return nil
	}
	return &t.in.Terms.Classes[t.in.Terms.Of[i]]
}

// Utilisation of a server in percent of its fair share, in its worst metric.
func (t *Tally) Utilisation(server int) int64 {
	worst := int64(0)
	for g := range t.ofServers {
		if a := &t.ofServers[g]; a.share != nil && a.built {
			worst = max(worst, a.relative(t.settled[server], server)/10)
		}
	}
	return worst
}
