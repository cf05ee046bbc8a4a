// Package placement is the pure solver: from a snapshot of servers and shards it proposes an ordered, explained plan of moves.
//
// It is called by the allocator's shell, off its loop, with an Input that the ledger made; the ledger checks each proposed move again
// before it opens it. The same Input always gives the same Plan. It never reads a clock, draws randomness or keeps state.
package placement

import (
	"cmp"

	"github.com/shardmanager/shardmanager/allocator/placement/terms"
	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Metrics that placement knows by itself.
const (
	MetricShards    = "shards"    // every replica loads it with 1
	MetricPrimaries = "primaries" // a primary loads it with 1; counted where shards have secondaries or a server limits it
)

// Input is one app as the ledger sees it: what it wants, and loads and places already adjusted by the moves in progress.
type Input struct {
	App     shard.App
	Servers []Server // in the order of ids
	Shards  []Shard  // in the order of indexes
	Policy  Policy
	Terms   *terms.Terms   // what policies say beyond that; nil: nothing
	Still   bool           // servers are away, in a planned event that brings them back: nothing is evened out meanwhile
	Apart   latency.Matrix // between regions, as far as known: where primaries go that no preferred region has room for
}

// Server is a place. Only a server with Accepts is a target.
type Server struct {
	ID          shard.ServerID
	Incarnation shard.Incarnation
	Locality    shard.Locality
	Capacity    map[string]int64  // per metric, fixed point; a metric that is absent is unlimited
	Labels      map[string]string // for whoever makes Terms; never modified
	Accepts     bool              // attached, not draining, not suspected
	Why         string            // why it does not accept, for people; empty: nobody said
	Leaving     bool              // draining: its replicas want to go elsewhere
	Demotes     bool              // its primaries are to become secondaries, where one in sync can take over
	Yields      bool              // its primaries are to leave, with a migration where nobody can take over
	Planned     bool              // a planned event is to take it down: what leaves other servers had better go elsewhere
	Moves       int               // open moves from or to it
}

// Shard is one shard with the replicas that it has.
type Shard struct {
	Index    shard.Index
	ID       shard.ID
	Load     map[string]int64 // of each replica, per metric, fixed point; always has MetricShards = 1
	Replicas []Replica        // at most one of them a primary; none: unplaced
	Pinned   bool             // nothing of it may change now: a move of its primary is open, or an owner is being waited for
	Avoid    []shard.ServerID // where callbacks for it failed lately
	Urgent   bool             // without a primary because its owner is gone
	Backoff  bool             // in quarantine: neither placed nor moved; pinned and without replicas: there is nothing to place
	Wanted   int              // replicas; 0: as many as the policy says
	Left     []shard.ServerID // where it was moved away from lately to even out loads: for that it does not go back, or loads that oscillate would have it do so
}

// Replica is a shard on one server.
type Replica struct {
	On      int        // position in Servers; -1: a server that is not in the input and is waited for
	To      int        // position in Servers of the target of its open move; -1: none. Both places are charged.
	Role    shard.Role // Primary or Secondary
	Settled bool       // it may be moved, and a secondary promoted: acknowledged, its server attached; a secondary in sync
	Leaving bool       // on its way out: charged, and no longer counted as a replica
}

// Primary is the primary of a shard; nil: it has none.
func (s *Shard) Primary() *Replica {
	for i := range s.Replicas {
		if s.Replicas[i].Role == shard.Primary {
			return &s.Replicas[i]
		}
	}
	return nil
}

// Policy is what an app wants for each of its shards, and what caps a plan.
type Policy struct {
	Replicas      int             // of a shard, the primary included; 1 or more
	Primary       bool            // one of them is a primary
	Spread        locality.Domain // two replicas of a shard never share a domain of this width; 0 is Host
	Regions       map[string]int  // at least so many replicas of a shard in that region; never modified
	PreferRegions []string        // where primaries should be, best first

	Moves            int // open moves of the app at once, those in progress included; emergency placements are exempt
	MovesPerServer   int // from or to one server, likewise
	TolerancePercent int // balance until the fullest exceeds the emptiest by at most this share of the mean

	Written []byte // the app's policy as it was written, for whoever makes Terms of it; nil: there is none
}

// Kind is what a move changes.
type Kind uint8

// Kinds of moves.
const (
	// Grant gives the primary role of a shard that has no primary to a server; From is empty.
	Grant Kind = iota + 1
	// Migrate moves the replica on From to To, in its role.
	Migrate
	// Add makes one more secondary, on To; From is empty.
	Add
	// Drop removes the secondary on From; To is empty.
	Drop
	// Promote makes the secondary on To, which is in sync, the primary, and the primary on From, if there is one, a secondary.
	Promote
)

// Reason of a move.
type Reason uint8

// Reasons; the numbers are those of the wire.
const (
	Place Reason = iota + 1
	Failover
	Drain
	Balance
	Repair     // the input breaks a constraint
	Preference // a preferred region for the primary
	Spread     // replicas farther apart
	Replicas   // more or fewer of them
)

// Wanted is how many replicas a shard should have.
func (in *Input) Wanted(i int) int { return cmp.Or(in.Shards[i].Wanted, in.Policy.Replicas) }

// Move is one proposal.
type Move struct {
	Shard  shard.Index
	Kind   Kind
	From   shard.ServerID // empty: nowhere
	To     shard.ServerID // empty: nowhere
	Reason Reason
}

// Decision explains one move, or why something that is wanted cannot be done: then it says in Binds what forbids it.
type Decision struct {
	Shard  shard.Index
	Kind   Kind
	From   shard.ServerID
	To     shard.ServerID // empty where Binds is not: stays, or stays unplaced
	Reason Reason
	Wave   int    // of the moves that wait until those before them are over, from 2: they are not in the plan, but in one of the next; 0: it begins now
	Why    string // why here, with the numbers that decided
	Binds  string // the constraint that excludes all else; empty: none
}

// Plan is an ordered list of moves, every prefix of which keeps the constraints, and why.
type Plan struct {
	App       shard.App
	Moves     []Move
	Decisions []Decision
	Notes     []string // regions that the policy names and that have no server; for people

	// Caps on open moves that it heeds, those of policies included, for whoever opens its moves; 0: not said.
	MostMoves, MostPerServer int
}
