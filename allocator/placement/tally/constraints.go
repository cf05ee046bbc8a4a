package tally

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Names of the constraints that every app has; some end in a metric or a region. Those of policies have names of their own.
const (
	Accepts  = "accepts"
	Avoid    = "avoid"
	Held     = "held"
	Capacity = "capacity."
	Region   = "region_replicas."
	Spread   = "spread "
)

// Excludes names the first constraint that forbids a server replica k of a shard, in a role, and gives the numbers; empty: none does. k -1 is one
// replica more.
func (t *Tally) Excludes(i, k int, role shard.Role, server int) (binds, why string) {
	at := &t.in.Servers[server]
	switch {
	case at.Leaving:
		return Accepts, "it is being drained"
	case !at.Accepts && at.Why != "":
		return Accepts, at.Why
	case !at.Accepts:
		return Accepts, "it is not attached, or is suspected"
	case slices.Contains(t.in.Shards[i].Avoid, at.ID):
		return Avoid, "callbacks for the shard failed there lately"
	}
	for _, look := range []func(i, k, server int) (binds, why string){t.barred, t.pinned, t.held, t.crowded, t.unrelated, t.needed} {
		if binds, why := look(i, k, server); binds != "" {
			return binds, why
		}
	}
	return t.full(i, k, role, server)
}

// barred is an expression that does not let replicas on a server.
func (t *Tally) barred(i, _, server int) (binds, why string) {
	c := t.class(i)
	if c == nil {
		return "", ""
	}
	f := c.Barred(server)
	switch {
	case f == nil:
		return "", ""
	case slices.Contains(f.Invalid, server):
		return f.Name, "its expression has no value for the server"
	}
	return f.Name, "its expression is false for the server"
}

// pinned is a pin that keeps a replica where it is, or wants it somewhere else.
func (t *Tally) pinned(i, k, server int) (binds, why string) {
	c, from := t.class(i), t.at(i, k)
	if c == nil || from == server {
		return "", ""
	}
	places := t.places(i, -1, -1)
	for _, p := range c.Pins {
		missing := slices.IndexFunc(p.Servers, func(s int32) bool { return !slices.Contains(places, int(s)) })
		switch {
		case from >= 0 && (p.Servers == nil || slices.Contains(p.Servers, int32(from))):
			return p.Name, "the replica stays where it is: it is pinned"
		case missing >= 0 && !slices.Contains(p.Servers, int32(server)):
			return p.Name, "a replica belongs on " + string(t.in.Servers[p.Servers[missing]].ID) + " first"
		}
	}
	return "", ""
}

func (t *Tally) held(i, k, server int) (binds, why string) {
	for j := range t.in.Shards[i].Replicas {
		if r := &t.in.Shards[i].Replicas[j]; (r.On == server || r.To == server) && (j != k || Place(r) != server) {
			return Held, "it has a replica of the shard, or is to get one"
		}
	}
	return "", ""
}

// spreads are those that hold for a shard, that of its app first.
func (t *Tally) spreads(i int) []terms.Spread {
	width := max(t.in.Policy.Spread, locality.Host)
	list := []terms.Spread{{Name: Spread + width.String(), Over: terms.Over{Width: width}, AtMost: 1}}
	if c := t.class(i); c != nil {
		list = append(list, c.Spreads...)
	}
	return list
}

// crowded is a spread that a replica on a server would break, or leave broken.
func (t *Tally) crowded(i, k, server int) (binds, why string) {
	others := t.places(i, k, -1)
	for _, s := range t.spreads(i) {
		domains, there, whose := map[int]bool{}, 0, ""
		for _, o := range others {
			domains[t.domain(s.Over, o)] = true
			if t.domain(s.Over, o) == t.domain(s.Over, server) {
				there++
				whose = string(t.in.Servers[o].ID)
			}
		}
		switch want := min(s.AtLeast, max(t.in.Wanted(i), len(others)+1)); {
		case s.AtMost > 0 && there >= s.AtMost:
			return s.Name, fmt.Sprintf("%d of at most %d replicas in %s already, on %s", there, s.AtMost, t.domainName(s.Over, server), whose)
		case there > 0 && len(domains)+t.in.Wanted(i)-len(others)-1 < want && len(domains) < want:
			return s.Name, fmt.Sprintf("it is in %s as well as %s: %d of at least %d domains by %s", t.domainName(s.Over, server), whose, len(domains), s.AtLeast, t.over(s.Over))
		}
	}
	return "", ""
}

// unrelated is a relation that a replica on a server would break: one of its shard, or of another shard to it.
func (t *Tally) unrelated(i, k, server int) (binds, why string) {
	if t.in.Terms == nil {
		return "", ""
	}
	if c := t.class(i); c != nil {
		for r := range c.Relations {
			if d := &c.Relations[r]; t.beside(d, i, server) == d.Not {
				return d.Name, t.whyRelated(d, server)
			}
		}
	}
	for j := range t.in.Shards {
		c := t.class(j)
		for r := range c.Relations {
			if d := &c.Relations[r]; j != i && (d.Each || slices.Contains(d.Shards, int32(i))) {
				if why := t.leaves(d, i, k, j, server); why != "" {
					return d.Name, why
				}
			}
		}
	}
	return "", ""
}

// beside reports whether whom a relation of shard i is about has a replica in the domain of a server.
func (t *Tally) beside(d *terms.Relation, i, server int) bool {
	in := t.domain(d.Over, server)
	there := func(j int) bool {
		return j != i && slices.ContainsFunc(t.places(j, -1, -1), func(p int) bool { return t.domain(d.Over, p) == in })
	}
	if d.Each {
		for j := range t.in.Shards {
			if there(j) {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(d.Shards, func(j int32) bool { return there(int(j)) }) ||
		slices.ContainsFunc(d.On, func(s int32) bool { return t.domain(d.Over, int(s)) == in })
}

func (t *Tally) whyRelated(d *terms.Relation, server int) string {
	with := d.With
	if d.Each {
		with = "another shard"
	}
	if d.Not {
		return fmt.Sprintf("%s has a replica in %s", with, t.domainName(d.Over, server))
	}
	return fmt.Sprintf("%s has no replica in %s", with, t.domainName(d.Over, server))
}

// leaves says why shard j forbids that replica k of shard i be on a server: it must not be beside it, or is left behind.
func (t *Tally) leaves(d *terms.Relation, i, k, j, server int) string {
	places := t.places(i, k, server)
	for _, p := range t.places(j, -1, -1) {
		near := func(list []int) bool {
			return slices.ContainsFunc(list, func(o int) bool { return t.domain(d.Over, o) == t.domain(d.Over, p) })
		}
		switch {
		case d.Not && t.domain(d.Over, server) == t.domain(d.Over, p) && !near(t.places(i, k, -1)):
			return fmt.Sprintf("shard %s is in %s", t.in.Shards[j].ID, t.domainName(d.Over, p))
		case !d.Not && near(t.places(i, -1, -1)) && !near(places):
			return fmt.Sprintf("shard %s needs it in %s", t.in.Shards[j].ID, t.domainName(d.Over, p))
		}
	}
	return ""
}

// needed is a region that a replica must not leave.
func (t *Tally) needed(i, k, server int) (binds, why string) {
	from := t.at(i, k)
	if from < 0 || t.where.InRegion[from] == t.where.InRegion[server] {
		return "", ""
	}
	home, n := t.where.RegionOf(from), 0
	for _, p := range t.places(i, -1, -1) {
		if t.where.InRegion[p] == t.where.InRegion[from] {
			n++
		}
	}
	if n > home.Least {
		return "", ""
	}
	return Region + home.Name, fmt.Sprintf("%s must keep %d replicas and has no more", home, home.Least)
}

// full is a metric of which a server has too little left.
func (t *Tally) full(i, k int, role shard.Role, server int) (binds, why string) {
	if k >= 0 {
		if r := &t.in.Shards[i].Replicas[k]; r.On == server || r.To == server {
			return "", "" // it is charged there already
		}
	}
	for m, need := range t.load(i, role) {
		limit := t.capacity[server][m]
		if free := limit - t.charged[server][m]; limit != load.Unlimited && need > 0 && need > free {
			return Capacity + t.metrics.Name(m), fmt.Sprintf("it has %d of %s left, of %d; the replica needs %d", max(0, free), t.metrics.Name(m), limit, need)
		}
	}
	return "", ""
}
