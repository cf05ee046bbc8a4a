// Package explain says of one shard why each of its replicas is where it is: what placement would do with it, how every server stands as a place
// for it, by which constraint or at what cost, and why it stays although another place may be better.
//
// It is for people, and pure. Decisions are those of the plan that placement makes of the same input. Constraints and costs are counted by tally,
// apart from the solver, with all that the plan does with other shards: a move that makes sense beside others makes sense here. Called by allocator/api. It changes nothing.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Explanation is of one shard.
type Explanation struct {
	Shard     shard.Index
	Decisions []Decision // of the plan that placement makes of the same input; none: nothing about the shard would change
	Notes     []string   // of that plan, and which goals are not among the costs
	Places    []Place    // the one that is decided next comes first: a replica that is missing, else the primary
}

// Decision is one of the plan, with what it costs more than leaving things as they are.
type Decision struct {
	placement.Decision
	Costs []tally.Cost
}

// Place is that of one replica.
type Place struct {
	Server     shard.ServerID // empty: one that is missing, or whose server is not there
	Role       shard.Role
	Verdict    string // that it stays, goes or is missing, and why
	Better     bool   // another place would be better, and it stays
	Candidates []Candidate
}

// Candidate is a server as a place for one replica: eligible ones best first, then the others by id.
type Candidate struct {
	Server      shard.ServerID
	Holds       shard.Role   // the role of the shard's replica that is there or on its way there; 0: none
	Here        bool         // that replica is the one in question
	Rank        int          // 1 is the best place by the goals; 0: excluded
	Utilisation int64        // percent of its fair share in its worst metric
	Binds       string       // the constraint that excludes it; empty: eligible
	Costs       []tally.Cost // what it costs more than the place that the replica has, the most important goal first
	Why         string       // the numbers behind Binds, or the costs, for people
}

// explaining is an explanation under way.
type explaining struct {
	in   placement.Input
	i    int          // position of the shard
	t    *tally.Tally // with what the plan does with other shards
	plan placement.Plan
}

// Shard explains a shard; false: the input has no such shard. It costs as much as a plan, and for each replica a look at each server.
func Shard(in placement.Input, at shard.Index) (Explanation, bool) {
	i, found := slices.BinarySearchFunc(in.Shards, at, func(s placement.Shard, at shard.Index) int { return cmp.Compare(s.Index, at) })
	if !found {
		return Explanation{}, false
	}
	plan := placement.Solve(in)
	with := others(in, plan, at)
	x := &explaining{in: in, i: i, t: tally.New(&with), plan: plan}
	e := Explanation{Shard: at, Notes: append(slices.Clip(plan.Notes), x.t.Untold(i)...)}
	for _, d := range plan.Decisions {
		if d.Shard == at {
			e.Decisions = append(e.Decisions, Decision{d, x.costs(d)})
		}
	}
	s := &in.Shards[i]
	kept := 0
	for k := range s.Replicas {
		if !s.Replicas[k].Leaving {
			kept++
		}
	}
	switch {
	case in.Policy.Primary && s.Primary() == nil:
		e.Places = append(e.Places, x.place(-1, shard.Primary))
	case kept < in.Wanted(i):
		e.Places = append(e.Places, x.place(-1, shard.Secondary))
	}
	first := len(e.Places)
	for k := range s.Replicas {
		e.Places = append(e.Places, x.place(k, s.Replicas[k].Role))
	}
	slices.SortStableFunc(e.Places[first:], func(a, b Place) int { return cmp.Compare(a.Role, b.Role) }) // the primary first
	return e, true
}

// costs is what a decision costs more, as far as it brings a replica to another server.
func (x *explaining) costs(d placement.Decision) []tally.Cost {
	to := x.position(d.To)
	if to < 0 {
		return nil
	}
	k, role := -1, shard.Secondary
	switch d.Kind {
	case placement.Grant:
		role = shard.Primary
	case placement.Migrate:
		if k = x.replicaOn(d.From); k < 0 {
			return nil
		}
	case placement.Add:
	case placement.Drop, placement.Promote:
		return nil
	}
	return x.t.Elsewhere(x.i, k, role, to)
}

func (x *explaining) position(id shard.ServerID) int {
	return slices.IndexFunc(x.in.Servers, func(s placement.Server) bool { return s.ID == id })
}

func (x *explaining) replicaOn(id shard.ServerID) int {
	at := x.position(id)
	return slices.IndexFunc(x.in.Shards[x.i].Replicas, func(r placement.Replica) bool { return at >= 0 && r.On == at })
}

// place explains that of replica k; -1 is one that is missing.
func (x *explaining) place(k int, role shard.Role) Place {
	p := Place{Role: role}
	if k >= 0 {
		if at := tally.Place(&x.in.Shards[x.i].Replicas[k]); at >= 0 {
			p.Server = x.in.Servers[at].ID
		}
	}
	for server := range x.in.Servers {
		p.Candidates = append(p.Candidates, x.candidate(k, role, server))
	}
	slices.SortStableFunc(p.Candidates, func(a, b Candidate) int {
		switch {
		case (a.Binds == "") != (b.Binds == ""):
			return cmp.Compare(len(a.Binds), len(b.Binds)) // the empty one first
		case a.Binds != "":
			return cmp.Compare(a.Server, b.Server)
		}
		return cmp.Or(tally.Compare(a.Costs, b.Costs), hereFirst(a, b), cmp.Compare(a.Utilisation, b.Utilisation), cmp.Compare(a.Server, b.Server))
	})
	for n := range p.Candidates {
		if c := &p.Candidates[n]; c.Binds == "" {
			c.Rank = n + 1
		}
	}
	p.Verdict, p.Better = x.verdict(k, &p)
	return p
}

func hereFirst(a, b Candidate) int {
	switch {
	case a.Here == b.Here:
		return 0
	case a.Here:
		return -1
	}
	return 1
}

// candidate says how a server stands as a place for replica k.
func (x *explaining) candidate(k int, role shard.Role, server int) Candidate {
	c := Candidate{Server: x.in.Servers[server].ID, Utilisation: x.t.Utilisation(server)}
	replicas := x.in.Shards[x.i].Replicas
	for j := range replicas {
		if replicas[j].On == server || replicas[j].To == server {
			c.Holds = replicas[j].Role
		}
	}
	c.Here = k >= 0 && tally.Place(&replicas[k]) == server
	if c.Binds, c.Why = x.t.Excludes(x.i, k, role, server); c.Binds != "" {
		return c
	}
	c.Costs = x.t.Elsewhere(x.i, k, role, server)
	switch {
	case c.Here:
		c.Why = "here"
	case len(c.Costs) > 0:
		c.Why = listed(c.Costs)
	case k < 0:
		c.Why = "no goal is against it"
	default:
		c.Why = "as good as here"
	}
	if far := x.far(server); far != "" && slices.ContainsFunc(c.Costs, func(c tally.Cost) bool { return c.Tier == tally.Above }) {
		c.Why += "; " + far
	}
	return c
}

// listed writes costs in a line.
func listed(costs []tally.Cost) string {
	var list []string
	for _, c := range costs {
		list = append(list, c.String())
	}
	return strings.Join(list, ", ")
}

// far is how far a server is from the regions that primaries prefer; empty: it is in one, or nobody knows.
func (x *explaining) far(server int) string {
	region, prefer := x.in.Servers[server].Locality.Region, x.in.Policy.PreferRegions
	if len(prefer) == 0 || slices.Contains(prefer, region) {
		return ""
	}
	apart, known := x.in.Apart.Between(prefer[0], region)
	if !known {
		return fmt.Sprintf("region %s is none of the preferred ones", region)
	}
	return fmt.Sprintf("region %s is none of the preferred ones, and %v from %s", region, apart.Median.Round(time.Millisecond), prefer[0])
}
