// Package report is what operators are told of the ledger: values only, made by it on request and never changed afterwards. The numbers
// of its enumerations are those of the wire.
//
// Called by allocator/ledger, which fills it in, and by whoever shows it. It decides nothing.
package report

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
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

var stateNames = [...]string{"unknown", "attached", "awaited", "suspect", "degraded", "fencing", "over", "resting"}

// String names the state.
func (s ServerState) String() string {
	if int(s) >= len(stateNames) {
		return stateNames[0]
	}
	return stateNames[s]
}

// ServerStatus is what the leader knows of a server's incarnation.
type ServerStatus struct {
	Server      shard.Server
	State       ServerState
	Reason      string // why the state is not Attached; for people
	Draining    bool
	Shards      int           // that it is primary of
	Secondaries int           // shards that it is a secondary of
	Moves       int           // open moves from or to it
	LastRenewal time.Duration // ago; negative: none under this leader

	Probation       time.Duration // left; 0: it is on none
	ProbationReason string
}

// WhyNot says of a server that takes no shards why it does not.
func (s ServerStatus) WhyNot() string {
	switch {
	case s.Draining:
		return "it is being drained"
	case s.State != Attached:
		return fmt.Sprintf("it is %s: %s", s.State, s.Reason)
	case s.Probation > 0:
		return fmt.Sprintf("it is on probation for %s more: %s", s.Probation.Round(time.Second), s.ProbationReason)
	}
	return s.Reason
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

var stepNames = [...]string{"", "opening", "prepare-add", "prepare-drop", "committing", "add", "linger", "drop", "closing", "aborting", "done", "aborted"}

// String names the step.
func (s MoveStep) String() string {
	if int(s) >= len(stepNames) {
		return "unknown"
	}
	return stepNames[s]
}

// Progress is what is known of a move beside its durable phase.
type Progress struct {
	Pending  bool // a change of the row is being written
	Prepared bool // the target acknowledged PrepareAddShard
	Served   bool // the primary acknowledged AddShard
	Dropping bool // the source is told to drop the shard
}

// StepOf is the step of a move.
func StepOf(phase MovePhase, p Progress) MoveStep {
	switch {
	case phase == PhaseOpened && p.Pending && !p.Prepared:
		return StepOpening
	case phase == PhaseOpened && p.Pending:
		return StepCommitting
	case phase == PhaseOpened && !p.Prepared:
		return StepPrepareAdd
	case phase == PhaseOpened:
		return StepPrepareDrop
	case phase == PhaseAborting:
		return StepAborting
	case p.Pending:
		return StepClosing
	case !p.Served:
		return StepAdd
	case p.Dropping:
		return StepDrop
	}
	return StepLinger
}

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
	Unserved time.Duration // of a failover: since its lost primary was heard of last, by this leader; 0: unknown
	Attempts int           // failures of callbacks
	Detail   string        // what it waits for, or how it ended; for people
	Received int64         // bytes of the shard's state that the target has received; 0 too where it receives none now
	Total    int64         // bytes in all, as announced; 0: unknown
	StepAge  time.Duration // in this step under this leader; 0 once it is finished
	Deadline time.Duration // until the command or the linger that it waits for is over; negative: it waits for nothing that has a deadline
}

// MovePhase is the durable part of a move's progress; the numbers are those stored.
type MovePhase uint8

// Phases of a move: before row 4, decided to go back, after row 4.
const (
	PhaseOpened MovePhase = iota + 1
	PhaseAborting
	PhaseMoved
)

// Moves under way and the last finished ones.
type Moves struct {
	Open          []MoveStatus // by app and shard
	Finished      []MoveStatus // newest first, at most 1 000
	FinishedCount uint64       // under this leader
}

// Summary is the ledger as a whole.
type Summary struct {
	Epoch       shard.Epoch
	Leading     bool // loaded, not stopping, and the lock was confirmed less than LV ago
	Unplaced    int  // shards without a primary that lives and acknowledged
	Lacking     int  // shards with fewer replicas than wanted, as of the last plans
	OpenMoves   int
	LockAge     time.Duration          // since the lock was last proven to be ours
	Servers     int                    // that live, attached or not
	Attached    int                    // of them, with a stream
	Suspected   int                    // of them, silent, degraded or being fenced
	Quarantined []probation.Quarantine // shards that are not placed any more, by app and shard
	Hold        string                 // why silent servers are held and not fenced; empty: none is
}
