package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Explanation says, for one shard, what the next plan does with it and how every server stands as a place for one of its replicas.
type Explanation struct {
	Shard      shard.Index
	Decisions  []Decision  // of the plan that Solve makes of the same input; none: nothing about the shard would change
	Candidates []Candidate // every server of the app: eligible ones best first, then the others by id
}

// Candidate is a server as a place for a replica of one shard.
type Candidate struct {
	Server      shard.ServerID
	Holds       shard.Role // the role of the shard's replica that is there or on its way there; 0: none
	Rank        int        // 1 is the best place; 0: excluded
	Utilisation int64      // percent of its fair share in its worst metric, as it is now
	Binds       string     // the constraint that excludes it; empty: eligible
	Why         string     // the numbers behind Binds, or behind the rank
}

// Explain explains a shard; false: the input has no such shard. It is called for people, one shard at a time: it costs as much as Solve
// and a look at each server more.
func Explain(in Input, at shard.Index) (Explanation, bool) {
	i, found := slices.BinarySearchFunc(in.Shards, at, func(s Shard, at shard.Index) int { return cmp.Compare(s.Index, at) })
	if !found {
		return Explanation{}, false
	}
	e := Explanation{Shard: at}
	for _, d := range Solve(in).Decisions {
		if d.Shard == at {
			e.Decisions = append(e.Decisions, d)
		}
	}
	s := newState(&in)
	scores := make(map[shard.ServerID]int64, len(in.Servers))
	for server := range in.Servers {
		c := s.candidate(i, server)
		scores[c.Server] = s.score(server)
		e.Candidates = append(e.Candidates, c)
	}
	slices.SortStableFunc(e.Candidates, func(a, b Candidate) int {
		if (a.Binds == "") != (b.Binds == "") {
			return cmp.Compare(len(a.Binds), len(b.Binds)) // the empty one first
		}
		if a.Binds != "" {
			return cmp.Compare(a.Server, b.Server)
		}
		return cmp.Or(cmp.Compare(scores[a.Server], scores[b.Server]), cmp.Compare(a.Server, b.Server))
	})
	for k := range e.Candidates {
		if c := &e.Candidates[k]; c.Binds == "" {
			c.Rank = k + 1
		}
	}
	return e, true
}

// candidate says how a server stands as a place for a shard.
func (s *state) candidate(i, server int) Candidate {
	sh := &s.in.Shards[i]
	c := Candidate{Server: s.serverID(server), Utilisation: s.utilisation(server)}
	for _, r := range sh.Replicas {
		if r.On == server || r.To == server {
			c.Holds = r.Role
		}
	}
	c.Binds, c.Why = s.excludes(i, server)
	switch {
	case c.Binds != "":
	case c.Holds != 0:
		c.Binds, c.Why = "held", "it has a replica of the shard"
	default:
		c.Why = fmt.Sprintf("it would be at %d %% of its fair share with one more average shard", percent(s.score(server)))
	}
	return c
}

// excludes names the constraint that forbids a server any replica of a shard.
func (s *state) excludes(i, server int) (binds, why string) {
	at := &s.in.Servers[server]
	switch {
	case at.Leaving:
		return "accepts", "it is being drained"
	case !at.Accepts:
		return "accepts", "it is not attached, or is suspected"
	case s.avoids(i, server):
		return "avoid", "callbacks for the shard failed there lately"
	}
	free := s.room(server)
	for m, need := range s.loads[i] {
		if need > 0 && need > free[m] {
			return "capacity." + s.metrics.Name(m), fmt.Sprintf("it has %d of %s left, of %d; the shard needs %d",
				max(0, free[m]), s.metrics.Name(m), s.capacity[server][m], need)
		}
	}
	return "", ""
}
