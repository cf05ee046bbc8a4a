// Package message is what the leader says to an agent over its stream, in the ledger's own terms. Values only.
//
// Made by allocator/ledger; allocator/api puts it on the wire.
package message

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Body of a message.
//
//sumtype:decl
type Body interface{ isBody() }

// Welcome accepts a Hello.
type Welcome struct {
	Epoch    shard.Epoch
	Interval time.Duration
	Validity time.Duration
}

// Grant answers a Renew: the lease ends Remaining after the asker's clock at asking; 0 grants nothing, which is no fence.
type Grant struct {
	Sequence  uint64
	Remaining time.Duration
	ServeOn   bool // the server may serve on while nobody vouches (PROTOCOL R34)
}

// RestGranted answers a RestRequested; 0 refuses.
type RestGranted struct {
	Sequence  uint64
	Remaining time.Duration
}

// CommandID names a command.
type CommandID struct {
	Epoch       shard.Epoch
	Incarnation shard.Incarnation
	Shard       shard.ID
	Order       shard.Order
	Kind        Kind
}

// Kind of a command; the numbers are those of the wire.
type Kind uint8

// Kinds.
const (
	AddShard Kind = iota + 1
	DropShard
	PrepareAddShard
	PrepareDropShard
	CancelMove
	UpdateMembership
)

// Command asks for one step at one shard.
type Command struct {
	ID       CommandID
	Peer     shard.Peer     // PrepareAddShard: the source; PrepareDropShard: the target; AddShard of a secondary: the primary
	Role     shard.Role     // AddShard
	Members  []shard.Member // AddShard of a primary, PrepareAddShard, UpdateMembership: its secondaries
	Deadline time.Duration
	// TraceParent is where the command is in a trace, as W3C has it; the ledger leaves it empty, and whoever sends the command may fill it in.
	TraceParent string
}

// Probe asks the agent to try another server.
type Probe struct {
	ID      uint64
	Target  shard.Server
	Timeout time.Duration
}

// Fenced tells the agent that the incarnation is over; the shell closes the stream after it.
type Fenced struct {
	Incarnation shard.Incarnation
	Reason      string
}

// Refuse rejects a Hello; the shell closes the stream with the error.
type Refuse struct {
	Duplicate bool // the key is held by another incarnation (PROTOCOL R26)
	Retry     bool // could not be decided now; attach again
	Reason    string
}

// Close ends a stream without a word: a newer one of the same incarnation has taken over, or it fell silent.
type Close struct{ Reason string }

// DrainProgress tells a draining server what is left.
type DrainProgress struct{ Remaining int }

func (Welcome) isBody()       {}
func (Grant) isBody()         {}
func (RestGranted) isBody()   {}
func (Command) isBody()       {}
func (Probe) isBody()         {}
func (Fenced) isBody()        {}
func (Refuse) isBody()        {}
func (Close) isBody()         {}
func (DrainProgress) isBody() {}

var kindNames = [...]string{"unknown command", "AddShard", "DropShard", "PrepareAddShard", "PrepareDropShard", "CancelMove", "UpdateMembership"}

// String names the kind.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return kindNames[0]
	}
	return kindNames[k]
}
