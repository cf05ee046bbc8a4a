// Package placement is the pure solver: from a snapshot of servers and shards it proposes an ordered, explained plan of moves.
//
// It is called by the allocator's shell, off its loop, with an Input that the ledger made; the ledger checks each proposed move again
// before it opens it. The same Input always gives the same Plan. It never reads a clock, draws randomness or keeps state.
package placement

import "github.com/shardmanager/shardmanager/internal/shard"

// MetricShards is the metric that every shard loads with 1.
const MetricShards = "shards"

// Input is one app as the ledger sees it: loads and places already adjusted by the moves in progress.
type Input struct {
	App     shard.App
	Servers []Server // in the order of ids
	Shards  []Shard  // in the order of indexes
	Limits  Limits
}

// Server is a place. Only a server with Accepts is a target.
type Server struct {
	ID          shard.ServerID
	Incarnation shard.Incarnation
	Locality    shard.Locality
	Capacity    map[string]int64 // per metric, fixed point; a metric that is absent is unlimited
	Accepts     bool             // attached, not draining, not suspected
	Leaving     bool             // draining: its shards want to go elsewhere
	Moves       int              // open moves from or to it
}

// Shard is one replica to place.
type Shard struct {
	Index   shard.Index
	ID      shard.ID
	Load    map[string]int64 // per metric, fixed point; always has MetricShards = 1
	On      int              // position in Servers of the primary; -1: unplaced
	To      int              // position in Servers of the target of its open move; -1: none. Both places are charged.
	Pinned  bool             // may not move now: a move is open, or its owner is being waited for
	Avoid   []shard.ServerID // where callbacks for it failed lately
	Urgent  bool             // unplaced because its owner is gone
	Backoff bool             // not to be placed now
}

// Limits cap a plan.
type Limits struct {
	Moves            int // open moves of the app at once, those in progress included; emergency placements are exempt
	MovesPerServer   int // from or to one server, likewise
	TolerancePercent int // balance until the fullest exceeds the emptiest by at most this share of the mean
}

// Reason of a move.
type Reason uint8

// Reasons; the numbers are those of the wire.
const (
	Place Reason = iota + 1
	Failover
	Drain
	Balance
)

// Move is one proposal.
type Move struct {
	Shard  shard.Index
	From   shard.ServerID // empty: unplaced
	To     shard.ServerID
	Reason Reason
}

// Decision explains one move, or why a shard cannot be placed.
type Decision struct {
	Shard  shard.Index
	From   shard.ServerID
	To     shard.ServerID // empty: stays, or stays unplaced
	Reason Reason
	Why    string // why here, with the numbers that decided
	Binds  string // the constraint that excludes all else; empty: none
}

// Plan is an ordered list of moves, every prefix of which keeps the constraints, and why.
type Plan struct {
	App       shard.App
	Moves     []Move
	Decisions []Decision
}
