package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Explanation says, for one shard, what the next plan does with it and how every server stands as a place for one of its replicas.
type Explanation struct {
	Shard      shard.Index
	Decisions  []Decision  // of the plan that Solve makes of the same input; none: nothing about the shard would change
	Notes      []string    // of that plan
	Candidates []Candidate // every server of the app: eligible ones best first, then the others by id
}

// Candidate is a server as a place for a replica of one shard: for one more while some are missing, else for its primary (or its first
// replica, where there are no primaries) instead of where that is.
type Candidate struct {
	Server      shard.ServerID
	Holds       shard.Role // the role of the shard's replica that is there or on its way there; 0: none
	Rank        int        // 1 is the best place by the goals: preferred region, far from other replicas, utilisation; 0: excluded
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
	plan := Solve(in)
	e := Explanation{Shard: at, Notes: plan.Notes}
	for _, d := range plan.Decisions {
		if d.Shard == at {
			e.Decisions = append(e.Decisions, d)
		}
	}
	s := newState(&in)
	q := s.next(i)
	goals := make(map[shard.ServerID][3]int64, len(in.Servers))
	for server := range in.Servers {
		c := s.candidate(q, server)
		goals[c.Server] = s.goals(q, server)
		e.Candidates = append(e.Candidates, c)
	}
	slices.SortStableFunc(e.Candidates, func(a, b Candidate) int {
		if (a.Binds == "") != (b.Binds == "") {
			return cmp.Compare(len(a.Binds), len(b.Binds)) // the empty one first
		}
		x, y := goals[a.Server], goals[b.Server]
		if a.Binds != "" || x == y {
			return cmp.Compare(a.Server, b.Server)
		}
		return slices.Compare(x[:], y[:])
	})
	for k := range e.Candidates {
		if c := &e.Candidates[k]; c.Binds == "" {
			c.Rank = k + 1
		}
	}
	return e, true
}

// next is the quest that explains a shard: where its next replica should be, or its primary.
func (s *state) next(i int) quest {
	primary := s.primaryOf(i)
	switch {
	case s.in.Policy.Primary && primary < 0:
		return s.quest(i, -1, shard.Primary)
	case s.count(i) < s.wanted(i):
		return s.quest(i, -1, shard.Secondary)
	}
	k := max(0, primary)
	return s.quest(i, k, s.replicas[i][k].role)
}

// goals is how well a server serves the goals as a place, the first number first, and less is better.
func (s *state) goals(q quest, server int) [3]int64 {
	g := [3]int64{0, 0, s.score(server, q.role)}
	if q.role == shard.Primary {
		g[0] = int64(s.where.Rank(server))
	}
	for k, r := range s.replicas[q.i] {
		if k == q.k || r.leaving || r.at < 0 {
			continue
		}
		for width := locality.Host; width <= locality.Region; width++ {
			if s.where.Shared(server, r.at, width) {
				g[1] = max(g[1], int64(locality.Region-width)+1)
				break
			}
		}
	}
	return g
}

// candidate says how a server stands in a quest.
func (s *state) candidate(q quest, server int) Candidate {
	c := Candidate{Server: s.serverID(server), Utilisation: s.utilisation(server)}
	for _, r := range s.replicas[q.i] {
		if r.on == server || r.at == server {
			c.Holds = r.role
		}
	}
	c.Binds, c.Why = s.excludes(q, server)
	if c.Binds == "" {
		c.Why = s.whyRanked(q, server)
	}
	return c
}

// whyRanked gives the numbers that rank a server.
func (s *state) whyRanked(q quest, server int) string {
	var list []string
	if len(s.where.Ranks) > 0 && q.role == shard.Primary {
		region, prefer := s.where.RegionOf(server), s.in.Policy.PreferRegions
		if rank := s.where.Rank(server); rank < len(prefer) {
			list = append(list, fmt.Sprintf("%s is preferred region %d of %d", region, rank+1, len(prefer)))
		} else if apart, known := s.in.Apart.Between(prefer[0], region.Name); known {
			list = append(list, fmt.Sprintf("%s is none of the preferred ones, and %v from %s", region, apart.Median.Round(time.Millisecond), prefer[0]))
		} else {
			list = append(list, region.String()+" is none of the preferred ones")
		}
	}
	if near := s.goals(q, server)[1]; near > 0 {
		list = append(list, fmt.Sprintf("in the same %s as another replica", locality.Region-locality.Domain(near)+1))
	}
	return strings.Join(append(list, fmt.Sprintf("it would be at %d %% of its fair share with one more average replica", percent(s.score(server, q.role)))), "; ")
}

// excludes names the constraint that forbids a server a replica of a shard.
func (s *state) excludes(q quest, server int) (binds, why string) {
	at := &s.in.Servers[server]
	switch {
	case at.Leaving:
		return bindsAccepts, "it is being drained"
	case !at.Accepts:
		return bindsAccepts, "it is not attached, or is suspected"
	case !q.heedless && s.avoids(q.i, server):
		return bindsAvoid, "callbacks for the shard failed there lately"
	}
	if binds, why := s.barred(q.i, server); binds != "" {
		return binds, why
	}
	for k, r := range s.replicas[q.i] {
		for _, other := range [2]int{r.on, r.at} {
			switch {
			case other == server:
				return "held", "it has a replica of the shard, or is to get one"
			case other >= 0 && k != q.k && !r.leaving && s.where.Shared(server, other, q.width):
				return "spread " + q.width.String(), fmt.Sprintf("it is in the same %s as the replica on %s", q.width, s.serverID(other))
			}
		}
	}
	if q.k >= 0 && !s.spare(q.i, q.k) && s.where.InRegion[server] != s.where.InRegion[s.replicas[q.i][q.k].at] {
		home := s.where.RegionOf(s.replicas[q.i][q.k].at)
		return bindsRegion + home.Name, fmt.Sprintf("%s must keep %d replicas and has no more", home, home.Least)
	}
	free := s.room(server)
	for m, need := range q.need {
		if need > 0 && need > free[m] {
			return bindsCapacity + s.metrics.Name(m), fmt.Sprintf("it has %d of %s left, of %d; the replica needs %d",
				max(0, free[m]), s.metrics.Name(m), s.capacity[server][m], need)
		}
	}
	return "", ""
}
