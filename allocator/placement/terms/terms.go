// Package terms is what policies say of one app, in the words of placement: every expression is evaluated, every name is a position in the
// lists of servers and shards that placement got, and every default is filled in. Whoever reads policies makes it, and placement plans by it.
// It is data, and never modified.
package terms

import (
	"slices"

	"github.com/shardmanager/shardmanager/internal/locality"
)

// Terms are the policies of an app. Nil says nothing.
type Terms struct {
	Metrics []Metric // those that bind; loads and capacities in others only count in goals
	Labels  []Label  // that constraints and goals count over
	Classes []Class  // of shards for which the same holds
	Of      []int32  // class by position of the shard

	ServerMoves, AppMoves int // open moves at once: from or to one server, and of the app
}

// Class is what holds for some shards.
type Class struct {
	Fences    []Fence
	Spreads   []Spread
	Relations []Relation
	Pins      []Pin
	Goals     []Goal // by tier
	Moves     int    // open moves of each shard at once
	Group     string // that movement counts together
}

// Barred is the first fence that does not let replicas on a server; nil: none.
func (c *Class) Barred(server int) *Fence {
	for i := range c.Fences {
		if !c.Fences[i].Has(server) {
			return &c.Fences[i]
		}
	}
	return nil
}

// Choosers reports by shard whether constraints hold that depend on where other replicas are, other than those of the shard in fault domains.
func (t *Terms) Choosers() []bool {
	list, each := make([]bool, len(t.Of)), false
	for i, c := range t.Of {
		list[i] = t.Classes[c].choosy()
	}
	for c := range t.Classes {
		for _, r := range t.Classes[c].Relations {
			each = each || r.Each
			for _, other := range r.Shards {
				list[other] = true
			}
		}
	}
	for i := range list {
		list[i] = list[i] || each
	}
	return list
}

// Rooted reports whether goals of a shard say in which regions its primary is better off.
func (t *Terms) Rooted(shard int) bool {
	return t != nil && slices.ContainsFunc(t.Classes[t.Of[shard]].Goals, func(g Goal) bool { return g.Kind == Preference || g.Kind == Latency })
}

// Caps are caps on open moves, of the app and of a server, as far as policies do not lower them.
func (t *Terms) Caps(app, server int) (capOfApp, capOfServer int) {
	if t.AppMoves > 0 {
		app = min(app, t.AppMoves)
	}
	if t.ServerMoves > 0 {
		server = min(server, t.ServerMoves)
	}
	return app, server
}

// Unserved are the names of goals that placement does not know how to serve.
func (t *Terms) Unserved() (list []string) {
	for c := range t.Classes {
		for _, g := range t.Classes[c].Goals {
			if (g.Kind == Failover || g.Traffic != nil) && !slices.Contains(list, g.Name) {
				list = append(list, g.Name)
			}
		}
	}
	return list
}

func (c *Class) choosy() bool {
	return len(c.Relations) > 0 || slices.ContainsFunc(c.Spreads, func(s Spread) bool { return s.Over.Width == 0 || s.AtMost != 1 })
}

// Width is the widest fault domain that no two replicas of a shard share; 0: none.
func (c *Class) Width() (width locality.Domain) {
	for _, s := range c.Spreads {
		if s.AtMost == 1 {
			width = max(width, s.Over.Width)
		}
	}
	return width
}

// Metric is one that binds.
type Metric struct {
	Name   string
	During bool // a replica that moves counts on both servers
}

// Label is a partition of the servers by the value of a label.
type Label struct {
	Key    string
	Domain []int32  // by position of the server: 0, 1, …
	Values []string // by domain; empty: servers without the label
}

// Over is what is counted over: a width of fault domains or, if that is 0, a label.
type Over struct {
	Width locality.Domain
	Label int
}

// Fence is an expression that says which servers may have replicas.
type Fence struct {
	Name    string
	Allows  []uint64 // bits, by position of the server
	Invalid []int    // servers for which it has no value: they are not allowed
}

// Has reports whether a fence allows a server.
func (f *Fence) Has(server int) bool { return f.Allows[server/64]&(1<<(server%64)) != 0 }

// Spread keeps replicas of a shard apart. One of the limits is not 0.
type Spread struct {
	Name    string
	Over    Over
	AtMost  int // replicas in one domain
	AtLeast int // domains
}

// Relation lets replicas only into domains where another has a replica or, with Not, where it has none.
type Relation struct {
	Name string
	Over Over
	Not  bool
	With string // the other, for people: app, or app/shard
	// Shards are the others, by position, if they are of this app; Each is every shard but the one itself.
	Shards []int32
	Each   bool
	On     []int32 // servers with a replica of the others, if those are of another app
}

// Pin keeps replicas where they are: on these servers, or wherever they are if there are none.
type Pin struct {
	Name    string
	Servers []int32
}

// Kind of a goal.
type Kind uint8

// Kinds of goals. What each counts is in docs/policy.md.
const (
	Preference Kind = iota + 1
	Apart
	Drain
	Utilization
	Balance
	Latency
	Cost
	Failover
	Movement
)

// Goal is what placement tries to reach. Fields that its kind does not name are zero.
type Goal struct {
	Name   string
	Kind   Kind
	Tier   int // 1 is the most important
	Weight int64

	Primaries bool     // Preference, Latency: of primaries only
	Regions   []string // Preference: best first
	Spread    Spread   // Apart; Failover: Over

	Metric  string // Utilization, Balance, Movement (empty: every replica weighs 1), Cost (traffic)
	Percent int    // Utilization: of the capacity; Balance: tolerance, of the mean

	Regional bool   // Balance: among the servers of each region
	Largest  bool   // Balance: the fullest server counts, else the sum of squares
	Other    string // Balance of free amounts: the other metric
	Milli    int64  // of it for 1000 free units of the metric

	Clients map[string]int64 // Latency, Cost: share by region
	Price   []int64          // Cost: of each server, millionths an hour
	Traffic []Route          // Cost: millionths for 10⁹ bytes

	Moves     []Route // Movement: what a move between two regions adds
	MostMoved bool    // Movement: of the group with the most moves only
}

// Route is from one region to another.
type Route struct {
	From, To string
	Cost     int64
}
