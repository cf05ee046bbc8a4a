package sim

import (
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
)

// transaction is what a leader writes at once.
type transaction struct {
	session  string
	epoch    shard.Epoch
	sequence uint64 // at which the sequence key must be
	number   uint64
	sent     time.Duration
	ops      []ledger.WriteOp
}

// answer to a transaction.
type answer uint8

const (
	didCommit answer = iota + 1
	lockLost
	sequenceMoved // another transaction of the same lock came first
	keyChanged
	storeFull
)

type committed struct {
	answer   answer
	sequence uint64
}

// commit is a leader's transaction: all or nothing, guarded by lock and sequence.
func (s *store) commit(t transaction) committed {
	switch {
	case s.lock.session != t.session || s.sessions[t.session] == nil:
		return committed{answer: lockLost}
	case s.sequence.modify != t.sequence:
		return committed{answer: sequenceMoved}
	case s.full > 0:
		return committed{answer: storeFull}
	}
	for _, op := range t.ops {
		if f, ok := op.(ledger.PutFence); ok {
			key, found := s.keys[f.Fence.Owner.Server]
			if found != (f.Registered != nil) || found && key.Create != f.Registered.Create {
				return committed{answer: keyChanged}
			}
		}
	}
	s.index++
	s.sequence = sequence{modify: s.index, epoch: t.epoch, number: t.number}
	for _, op := range t.ops {
		s.apply(op, t.sent)
	}
	s.w.observe(promise.Committed{})
	return committed{answer: didCommit, sequence: s.index}
}

func (s *store) apply(op ledger.WriteOp, sent time.Duration) {
	switch op := op.(type) {
	case ledger.PutSpec:
		if s.spec == nil {
			s.rows = make([]ledger.Row, op.Spec.Space.Hash.Shards)
		}
		s.spec = &op.Spec
		s.w.observe(promise.SpecWritten{Spec: op.Spec})
	case ledger.PutChunk:
		for i, r := range op.Rows {
			s.write(op.Chunk*ledger.ChunkShards+i, r)
		}
	case ledger.PutFence:
		s.fence(op, sent)
	case ledger.PutMark:
		s.mark(op.Row)
	case ledger.PutEvent:
		s.plan(op.Row, sent)
	case ledger.PutRest:
		s.rests[op.Rest.Owner.Server] = op.Rest
	case ledger.RemoveRest:
		delete(s.rests, op.Server)
	case ledger.PutDrain:
		if delete(s.drains, op.Server); op.On {
			s.drains[op.Server] = true
		}
	case ledger.PutHeard:
		s.w.observe(promise.Heard{Why: op.Why})
	case ledger.RemoveApp: // nobody deletes the app
	}
}

func (s *store) write(at int, r ledger.Row) {
	before := s.rows[at]
	if sameRow(before, r) {
		return
	}
	s.rows[at] = r
	index := shard.Index(at)
	s.w.observe(promise.RowWritten{Index: index, Shard: s.w.ids[at], Before: before, After: r})
}

func sameRow(a, b ledger.Row) bool {
	x, y := a.Open, b.Open
	if a.Term != b.Term || a.Move != b.Move || a.Primary != b.Primary || a.PrimaryTerm != b.PrimaryTerm || a.MembersMove != b.MembersMove ||
		!slices.Equal(a.Secondaries, b.Secondaries) || (x == nil) != (y == nil) {
		return false
	}
	return x == nil || *x == *y
}

func (s *store) fence(op ledger.PutFence, sent time.Duration) {
	owner := op.Fence.Owner
	s.fences[owner.Server] = op.Fence
	s.w.fenced(op.Fence, sent)
	if op.Registered != nil && op.Registered.Server.Incarnation == owner.Incarnation {
		delete(s.keys, owner.Server)
	}
}

func (s *store) mark(row probation.Row) {
	switch row := row.(type) {
	case probation.PutProbation:
		s.probations[row.Server] = row.Probation
	case probation.RemoveProbation:
		delete(s.probations, row.Server)
	case probation.PutQuarantine:
		s.quarantines[row.Quarantine.Shard] = row.Quarantine
	case probation.RemoveQuarantine:
		delete(s.quarantines, row.Shard)
	}
}

func (s *store) plan(row maintenance.Row, sent time.Duration) {
	before := s.events[row.Event.ID]
	if delete(s.events, row.Event.ID); row.Gone {
		return
	}
	s.events[row.Event.ID] = row.Event
	for i := range row.Event.Pieces {
		fresh := i >= len(before.Pieces) || !before.Pieces[i].State.Active()
		if row.Event.Pieces[i].State.Active() && fresh {
			s.w.approved(row.Event.ID, &row.Event.Pieces[i], sent)
		}
	}
}
