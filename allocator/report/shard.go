package report

import (
	"fmt"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// ShardStatus is all that the leader knows of one shard: the durable row, and what it knows beyond.
type ShardStatus struct {
	App   shard.App
	Index shard.Index
	Shard shard.ID
	Term  shard.Term   // highest ever granted or reserved
	Move  shard.MoveID // highest ever used

	Primary     shard.ServerID // empty: nobody
	Incarnation shard.Incarnation
	PrimaryTerm shard.Term
	Owner       ServerStatus // of the primary; zero if there is none, or nothing is known of it
	Serving     bool         // the primary acknowledged its grant to this leader

	Pending       bool   // a change of the row is being written
	WriteFailures int    // of the store in a row
	Unplaced      bool   // it may be granted to anybody
	Waits         string // what it waits for in its present step, for people

	Replicas []Replica // that the row names, the primary first
	Missing  int       // that the app's spec asks for, or replica_scaling, beyond those
	Scaled   string    // why replica_scaling wants as many as it does, for people; empty: there is none

	Quarantine string // why it is neither placed nor moved until an operator lets it; empty: it is in none

	Moving bool // Open is valid: it moves, or its grant is not acknowledged
	Open   MoveStatus
	Phase  MovePhase // of the open move; 0: there is none
}

// Replica is one replica of a shard.
type Replica struct {
	Server      shard.ServerID
	Incarnation shard.Incarnation
	Role        shard.Role
	Progress    SecondaryProgress // of a secondary
	Idle        bool              // not in sync; or a primary that hands over, or has not taken over yet
	Down        string            // why it counts as down (PROTOCOL R29), for people; empty: it does not
}

// Judge says why a replica counts as down, by what is known of its server: once, whatever else is the matter.
func (r *Replica) Judge(server ServerStatus, quarantine, approval string) {
	switch {
	case server.State != Attached:
		r.Down = "its server is " + server.State.String() + ": " + server.Reason
	case r.Idle && r.Role == shard.Primary:
		r.Down = "it hands over, or has not taken over yet"
	case r.Idle:
		r.Down = "it is " + r.Progress.String()
	case quarantine != "":
		r.Down = "the shard is in quarantine: " + quarantine
	case approval != "":
		r.Down = "its server may be taken down: maintenance " + approval
	}
}

// SecondaryProgress is how far a secondary is.
type SecondaryProgress uint8

var progressNames = [...]string{"", "joining", "syncing", "in sync", "leaving"}

// String names it.
func (p SecondaryProgress) String() string {
	if int(p) >= len(progressNames) {
		return "unknown"
	}
	return progressNames[p]
}

// WaitsFor says for people what the shard waits for; empty: nothing. targets is how many servers of the app take shards.
func (s ShardStatus) WaitsFor(targets int) string {
	switch {
	case s.Pending && s.WriteFailures > 0:
		return fmt.Sprintf("the store, which refused %d times", s.WriteFailures)
	case s.Pending:
		return "the store"
	case s.Unplaced && targets == 0:
		return "a server that takes shards: there is none"
	case s.Unplaced:
		return fmt.Sprintf("placement: %d servers take shards", targets)
	case s.Waits != "":
		return s.Waits
	case s.Owner.State == Fencing:
		return fmt.Sprintf("the lease of %s to end: %s", s.Primary, s.Owner.Reason)
	case s.Primary != "" && !s.Serving:
		return fmt.Sprintf("%s, which does not serve it", s.Primary)
	}
	return ""
}
