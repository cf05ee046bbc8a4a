package explain

import (
	"fmt"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/goals"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// verdict says in a line why a replica is where it is, or where it goes, and whether it stays although another place would be better.
func (x *explaining) verdict(k int, p *Place) (text string, better bool) {
	if k < 0 {
		return x.missing(p), false
	}
	if r := &x.in.Shards[x.i].Replicas[k]; r.Leaving {
		return "it is being dropped", false
	} else if r.On < 0 && r.To < 0 {
		return "its server is not there, and is waited for", false
	} else if r.To >= 0 && r.To != r.On {
		return "it is on its way to " + string(x.in.Servers[r.To].ID), false
	}
	if goes := x.planned(p.Server); goes != "" {
		return goes, false
	}
	text = "stays"
	if binds, why := x.t.Breaks(x.i, k); binds != "" {
		text = fmt.Sprintf("stays, although %s is broken (%s)", binds, why)
	}
	best, others := x.best(p)
	switch {
	case others != "":
		return text + ": no other server may have it: " + others, false
	case best == nil:
		return text + ": there is no other server", false
	}
	switch costs := tally.Decisive(best.Costs); {
	case len(costs) == 0:
		return fmt.Sprintf("%s: %s would be as good, and nothing is gained by a move", text, best.Server), false
	case tally.Compare(costs, nil) > 0:
		return fmt.Sprintf("%s: the best other place, %s, costs more: %s", text, best.Server, listed(costs)), false
	default:
		return fmt.Sprintf("%s: %s would be better (%s), but %s", text, best.Server, listed(costs), x.obstacle(k, best, costs)), true
	}
}

// missing says where a replica that is missing goes, or why nowhere.
func (x *explaining) missing(p *Place) string {
	at := x.in.Shards[x.i].Index
	for _, d := range x.plan.Decisions {
		if d.Shard != at || (d.Kind != placement.Add) == (p.Role == shard.Secondary) {
			continue
		}
		if d.Binds != "" {
			return fmt.Sprintf("is missing: %s: %s", d.Binds, d.Why)
		}
		return fmt.Sprintf("is missing, and goes to %s: %s", d.To, d.Why)
	}
	if x.in.Shards[x.i].Pinned {
		return "is missing: a change of the shard is under way, and waited for"
	}
	if p.Role == shard.Secondary && x.in.Policy.Primary && x.in.Shards[x.i].Primary() == nil {
		return "is missing: it follows once there is a primary"
	}
	return "is missing: the next plan looks for a place"
}

// planned is what the plan does with the replica on a server; empty: nothing.
func (x *explaining) planned(server shard.ServerID) string {
	at := x.in.Shards[x.i].Index
	for _, d := range x.plan.Decisions {
		switch {
		case d.Shard != at || d.From != server && (d.Kind != placement.Promote || d.To != server):
			continue
		case d.Binds != "":
			return fmt.Sprintf("stays, and should not: %s: %s", d.Binds, d.Why)
		}
		switch d.Kind {
		case placement.Migrate:
			return fmt.Sprintf("goes to %s: %s", d.To, d.Why)
		case placement.Drop:
			return "is to be dropped: " + d.Why
		case placement.Promote:
			if d.To == server {
				return "becomes the primary: " + d.Why
			}
			return fmt.Sprintf("hands the primary role to %s: %s", d.To, d.Why)
		case placement.Grant, placement.Add:
		}
	}
	return ""
}

// best is the best eligible server beside that of the replica; if there is none, others says what excludes them.
func (x *explaining) best(p *Place) (best *Candidate, others string) {
	counts := map[string]int{}
	for n := range p.Candidates {
		switch c := &p.Candidates[n]; {
		case c.Here:
		case c.Binds == "":
			return c, ""
		default:
			counts[c.Binds]++
		}
	}
	_, others = goals.Binding(counts)
	return nil, others
}

// obstacle is why a replica stays although a server would be a better place.
func (x *explaining) obstacle(k int, best *Candidate, costs []tally.Cost) string {
	s := &x.in.Shards[x.i]
	switch r := &s.Replicas[k]; {
	case s.Backoff:
		return "the shard is in quarantine"
	case s.Pinned:
		return "a change of the shard is under way"
	case x.in.Policy.Primary && s.Primary() == nil:
		return "the shard needs a primary first"
	case !r.Settled:
		return "it is not in sync, or its server is silent"
	case !x.in.Servers[r.On].Accepts && !x.in.Servers[r.On].Leaving:
		return "its server takes no shards for now, and what it has is left alone"
	case len(s.Avoid) > 0:
		return "callbacks for the shard failed lately: it is left alone for a while"
	case slices.ContainsFunc(x.plan.Moves, func(m placement.Move) bool { return m.Shard == s.Index }):
		return "one change of the shard at a time, and the next plan makes another"
	case slices.Contains(s.Left, best.Server):
		return "it was moved away from there lately, and does not go back for two minutes"
	}
	if capped := x.capped(k, best.Server); capped != "" {
		return capped
	}
	if slices.ContainsFunc(s.Replicas, x.changing) {
		return "another replica of the shard is about to change first"
	}
	for _, c := range costs {
		if c.Unit != tally.Share && c.Unit != tally.Servers {
			return "the plan found no better places for all shards together"
		}
	}
	return "that is not worth a move"
}

// changing reports whether a replica is about to be elsewhere, or gone.
func (x *explaining) changing(r placement.Replica) bool {
	return r.Leaving || !r.Settled || r.On < 0 || r.To >= 0 || !x.in.Servers[r.On].Accepts
}

// capped is the cap on moves that is used up by those that are open and those of the plan; empty: none is.
func (x *explaining) capped(k int, to shard.ServerID) string {
	most, each := x.in.Policy.Moves, x.in.Policy.MovesPerServer
	if x.in.Terms != nil {
		most, each = x.in.Terms.Caps(most, each)
	}
	open := 0
	for i := range x.in.Shards {
		for _, r := range x.in.Shards[i].Replicas {
			if r.On >= 0 && r.To >= 0 && r.To != r.On {
				open++
			}
		}
	}
	moves := map[shard.ServerID]int{}
	for _, m := range x.plan.Moves {
		if m.Kind == placement.Migrate || m.Kind == placement.Promote && m.From != "" {
			open++
			moves[m.From]++
			moves[m.To]++
		}
	}
	if open >= most {
		return fmt.Sprintf("moves are capped: %d of %d of the app are open or planned", open, most)
	}
	for _, server := range [2]int{x.in.Shards[x.i].Replicas[k].On, x.position(to)} {
		if id := x.in.Servers[server].ID; x.in.Servers[server].Moves+moves[id] >= each {
			return fmt.Sprintf("moves are capped: %d of %d from or to %s are open or planned", x.in.Servers[server].Moves+moves[id], each, id)
		}
	}
	return ""
}
