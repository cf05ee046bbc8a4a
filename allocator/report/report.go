// Package report is what operators are told of the ledger: values only, made by it on request and never changed afterwards. The numbers
// of its enumerations are those of the wire.
//
// Called by allocator/ledger, which fills it in, and by whoever shows it. It decides nothing.
package report

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// ServerState is what the leader thinks of a server.
type ServerState uint8

// States of servers.
const (
	Attached ServerState = iota + 1 // its stream renews
	Awaited                         // not heard of since this leader began
	Suspect                         // silent; evidence is being gathered
	Degraded                        // others reach it: waited for
	Fencing                         // fenced, or about to be; its lease is being waited out
	Over                            // its incarnation is over
	Resting                         // its agent rests in a planned restart
)

// ServerStatus is what the leader knows of a server's incarnation.
type ServerStatus struct {
	Server      shard.Server
	State       ServerState
	Reason      string // why the state is not Attached; for people
	Draining    bool
	Shards      int           // that it is primary of
	Moves       int           // open moves from or to it
	LastRenewal time.Duration // ago; negative: none under this leader
}

// MoveStep is how far a move is.
type MoveStep uint8

// Steps of moves.
const (
	StepOpening MoveStep = iota + 1
	StepPrepareAdd
	StepPrepareDrop
	StepCommitting
	StepAdd
	StepLinger
	StepDrop
	StepClosing
	StepAborting
	StepDone
	StepAborted
)

// MoveStatus is one move of one shard, placements and failovers included.
type MoveStatus struct {
	App      shard.App
	Shard    shard.ID
	Order    shard.Order
	From     shard.ServerID // empty: the shard had no living owner
	To       shard.ServerID
	Reason   placement.Reason
	Step     MoveStep
	Age      time.Duration // since it was opened, or that it took; 0 where another leader opened it
	Attempts int           // failures of callbacks
	Detail   string        // what it waits for, or how it ended; for people
}

// Moves under way and the last finished ones.
type Moves struct {
	Open          []MoveStatus // by app and shard
	Finished      []MoveStatus // newest first, at most 1 000
	FinishedCount uint64       // under this leader
}

// Summary is the ledger as a whole.
type Summary struct {
	Epoch     shard.Epoch
	Leading   bool // loaded, not stopping, and the lock was confirmed less than LV ago
	Unplaced  int  // shards without a primary that lives and acknowledged
	OpenMoves int
}
