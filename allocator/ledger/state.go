package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/row"
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

// Row is what is durable about one shard; its parts.
type (
	Row            = row.Row
	Owner          = row.Owner
	Secondary      = row.Secondary
	SecondaryState = row.SecondaryState
	OpenMove       = row.OpenMove
	MovePhase      = row.MovePhase
)

// States of secondaries, phases of moves.
const (
	Joining, Syncing, InSync, Leaving = row.Joining, row.Syncing, row.InSync, row.Leaving
	Opened, Aborting, Moved           = row.Opened, row.Aborting, row.Moved
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
