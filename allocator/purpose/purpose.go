// Package purpose is why the leader sends an agent a command: the same DropShard means different things at different places. Values only.
//
// Called by allocator/ledger.
package purpose

import (
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Purpose is why a command is sent: the same DropShard means different things at different places.
type Purpose uint8

// Purposes.
const (
	Grant Purpose = iota + 1 // AddShard to the primary
	PrepareAdd
	PrepareDrop
	Cancel     // CancelMove to the source of an aborted move
	StopTarget // DropShard to the target of an aborted move
	DropSource // DropShard to the source after the linger
	TakeAway   // DropShard to a primary that cannot add it
	Stray      // DropShard to whoever holds it without reason
	Join       // AddShard to a newcomer, as a secondary
	Leave      // DropShard to a secondary that leaves
	Demote     // AddShard to the source that stays, as a secondary
	StepBack   // AddShard to the target of an aborted move, as the secondary that it was
	Members    // UpdateMembership to the primary
	Delete     // DropShard to whoever may hold a shard that was deleted
)

// Kind is what it is on the wire.
func (p Purpose) Kind() message.Kind {
	switch p {
	case Grant:
		return message.AddShard
	case PrepareAdd:
		return message.PrepareAddShard
	case PrepareDrop:
		return message.PrepareDropShard
	case Cancel:
		return message.CancelMove
	case StopTarget, DropSource, TakeAway, Stray, Leave, Delete:
		return message.DropShard
	case Join, Demote, StepBack:
		return message.AddShard
	case Members:
		return message.UpdateMembership
	}
	return 0
}

// OfSecondaries reports whether a command is about secondaries: what it asks is unchanged by decisions about the primary.
func (p Purpose) OfSecondaries() bool { return p == Join || p == Leave || p == Members }

// TakesOn reports whether a command makes a server take a shard on that it may not have had before.
func (p Purpose) TakesOn() bool { return p == Grant || p == PrepareAdd || p == Join }

// Role is the one to take with an AddShard.
func (p Purpose) Role() shard.Role {
	switch p {
	case Grant:
		return shard.Primary
	case Join, Demote, StepBack:
		return shard.Secondary
	case PrepareAdd, PrepareDrop, Cancel, StopTarget, DropSource, TakeAway, Stray, Leave, Members, Delete:
	}
	return 0
}

// Taken is the role in which a command makes a server take a shard on.
func (p Purpose) Taken() shard.Role {
	if p == Join {
		return shard.Secondary
	}
	return shard.Primary
}
