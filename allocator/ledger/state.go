package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/row"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/timing"
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

// What is durable about one shard, and its parts; and about one server.
type (
	Row            = row.Row
	Owner          = row.Owner
	Secondary      = row.Secondary
	SecondaryState = row.SecondaryState
	OpenMove       = row.OpenMove
	MovePhase      = row.MovePhase

	Registration = row.Registration
	Fence        = row.Fence
	Rest         = row.Rest
)

// States of secondaries, phases of moves.
const (
	Joining, Syncing, InSync, Leaving = row.Joining, row.Syncing, row.InSync, row.Leaving
	Opened, Aborting, Moved           = row.Opened, row.Aborting, row.Moved
)
