package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// ChunkShards is the most shards in one chunk of an assignment (DESIGN §7).
const ChunkShards = 8192

// Settings of the ledger.
type Settings = timing.Settings

// Spec is an app as stored.
type Spec = spec.App

// AppState is an app as loaded.
type AppState struct {
	Spec Spec
	Rows []Row // by shard index; shorter than the key space where chunks were never written
}

// Owner is a server's incarnation.
type Owner struct {
	Server      shard.ServerID
	Incarnation shard.Incarnation
}

// Row is what is durable about one shard.
type Row struct {
	ID          shard.ID     // of a named key space; empty: no shard has this index now
	Deleting    bool         // of a named key space: nobody serves it any more, and whoever holds it drops it
	Term        shard.Term   // highest ever granted or reserved
	Move        shard.MoveID // highest ever used
	Primary     Owner        // zero: never placed, or its owner acknowledged a stop
	PrimaryTerm shard.Term
	PrimaryMove shard.MoveID // not stored: the Move of the grant, known to this leader; 0 after a load
	Open        *OpenMove
	// Secondaries in the order in which they came; the slice is never changed in place.
	Secondaries []Secondary
	// MembersMove is the Move at which the secondaries that the primary must know changed last: their membership carries it.
	MembersMove shard.MoveID
	MembersTold shard.MoveID // not stored: the MembersMove that the primary acknowledged to this leader
}

// Secondary is one secondary of a shard.
type Secondary struct {
	Owner
	Order    shard.Order // of the decision that made it what it is; its commands carry it
	State    SecondaryState
	Replaces Owner // who goes once this one is in sync; zero: nobody
}

// SecondaryState is the durable part of a secondary's progress; the numbers are those stored.
type SecondaryState uint8

// States of a secondary.
const (
	// Joining: it is to take the shard on.
	Joining SecondaryState = iota + 1
	// Syncing: it took the shard on, and the primary brings it up to date.
	Syncing
	// InSync: the primary acknowledges no write before this one has applied it, so it may become primary. In an app without primaries: it
	// serves.
	InSync
	// Leaving: it is to drop the shard.
	Leaving
)

// OpenMove is a move of a primary in progress.
type OpenMove struct {
	Move   shard.MoveID
	Term   shard.Term // reserved for To
	From   Owner
	To     Owner
	Reason placement.Reason
	Phase  MovePhase
	Stays  bool // From becomes a secondary; only where there are secondaries
}

// MovePhase is the durable part of a move's progress; the numbers are those stored.
type MovePhase uint8

// Phases of a move.
const (
	// Opened: rows 1 to 3. To may be prepared, From may be handing over.
	Opened MovePhase = iota + 1
	// Aborting: decided to abort; no leader moves forward from here (PROTOCOL R10).
	Aborting
	// Moved: rows 4 to 7. To is primary, From forwards until it is dropped.
	Moved
)

// Registration is a server's key.
type Registration struct {
	Server  shard.Server
	Session string // who holds it; empty: nobody
	Create  uint64 // index of its creation: a later registration of the same server has a higher one
	// Ended lists earlier incarnations that the agent in the key ended itself, everything dropped.
	Ended []shard.Incarnation
}

// Fence is a durable fence.
type Fence struct {
	Owner  Owner
	Reason string
}

// Rest says that a lease of this length may be out (PROTOCOL R19).
type Rest struct {
	Owner  Owner
	Length time.Duration
}
