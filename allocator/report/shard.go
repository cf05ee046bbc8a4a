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

	Moving bool // Open is valid: it moves, or its grant is not acknowledged
	Open   MoveStatus
	Phase  MovePhase // of the open move; 0: there is none
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
