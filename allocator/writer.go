package allocator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// retryPause is how long the writer waits between two attempts to learn or finish what it began.
const retryPause = 100 * time.Millisecond

// writer commits the ledger's writes, one at a time, in one goroutine.
type writer struct {
	store   coord.KV
	keys    storage.Keys
	session coord.SessionID
	epoch   shard.Epoch
	clock   func() shard.Instant
	timeout time.Duration // of one transaction
	limit   time.Duration // LV: an outcome that stays unknown for longer ends the leadership

	indexes  *storage.Indexes
	sequence coord.Index // at which the sequence key was last seen
	number   uint64      // of the last transaction
}

// fate is what became of a transaction or write, and why.
type fate struct {
	outcome ledger.WriteOutcome
	err     error
}

var committed = fate{outcome: ledger.Committed}

func (f fate) done(id ledger.WriteID) ledger.WriteDone {
	done := ledger.WriteDone{ID: id, Outcome: f.outcome}
	if f.err != nil {
		done.Err = f.err.Error()
	}
	return done
}

// write commits a whole write. One that needs several transactions is finished once its first has been committed, whatever it takes:
// to the ledger it is one.
func (w *writer) write(ctx context.Context, ops []ledger.WriteOp) fate {
	batches, err := w.keys.Encode(w.indexes, w.epoch, ops)
	if err != nil {
		return fate{ledger.NotCommitted, err}
	}
	for i, batch := range batches {
		f := w.commit(ctx, batch)
		for i > 0 && f.outcome == ledger.NotCommitted && clock.Pause(ctx, retryPause) {
			f = w.commit(ctx, batch)
		}
		if f.outcome != ledger.Committed {
			return f
		}
	}
	return committed
}

// commit runs one transaction to a decided end.
func (w *writer) commit(ctx context.Context, ops []coord.Op) fate {
	w.number++
	number := w.number
	began := w.clock()
	index, err := w.try(ctx, number, ops)
	switch {
	case err == nil:
		w.took(ops, index)
		return committed
	case errors.Is(err, coord.ErrUnknown):
		return w.resolve(ctx, began, number, ops, err)
	default:
		return w.refused(err, ops)
	}
}

// try sends one transaction behind the guard.
func (w *writer) try(ctx context.Context, number uint64, ops []coord.Op) (coord.Index, error) {
	guard, err := w.keys.Guard(w.session, w.sequence, w.epoch, number)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	return w.store.Txn(ctx, append(guard, ops...))
}

func (w *writer) took(ops []coord.Op, index coord.Index) {
	w.sequence = index
	w.indexes.Committed(ops, index)
}

// refused says what a transaction that certainly did not commit means.
func (w *writer) refused(err error, ops []coord.Op) fate {
	var conflict *coord.ConflictError
	switch {
	case !errors.As(err, &conflict):
		return fate{ledger.NotCommitted, err} // full, slow or away
	case conflict.Key == w.keys.Leader():
		return fate{ledger.Superseded, fmt.Errorf("the lock is lost: %w", err)}
	case w.keys.IsServer(conflict.Key) && len(ops) > 0:
		return fate{ledger.ServerChanged, err}
	default:
		return fate{ledger.Superseded, fmt.Errorf("somebody else writes the keys of the leader: %w", err)}
	}
}

// resolve decides a transaction that was sent and not answered (PROTOCOL R12). The sequence key shows its number: committed. Otherwise
// that key is written again, which only succeeds where it has not changed: from then on the lost transaction can never commit.
func (w *writer) resolve(ctx context.Context, began shard.Instant, number uint64, ops []coord.Op, cause error) fate {
	for {
		f, decided := w.decide(ctx, number, ops, cause)
		if decided {
			return f
		}
		if began.PermissionAge(w.clock()) >= w.limit {
			return fate{ledger.Superseded, fmt.Errorf("undecided for %s whether a transaction was committed: %w", w.limit, cause)}
		}
		if !clock.Pause(ctx, retryPause) {
			return fate{ledger.Superseded, fmt.Errorf("given up: %w", cause)}
		}
	}
}

func (w *writer) decide(ctx context.Context, number uint64, ops []coord.Op, cause error) (fate, bool) {
	read, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	entry, found, err := w.store.Get(read, w.keys.Sequence())
	if err != nil {
		return fate{}, false
	}
	record := new(pb.SequenceRecord)
	if found {
		if err := wire.Decode(entry.Value, record); err != nil {
			return fate{ledger.Superseded, fmt.Errorf("key %s: %w", entry.Key, err)}, true
		}
	}
	w.sequence = entry.Modify
	if wire.EpochFromProto(record.Epoch) == w.epoch && record.Write == number {
		w.took(ops, entry.Modify)
		return committed, true
	}
	w.number++
	index, err := w.try(ctx, w.number, nil)
	if err == nil {
		w.took(nil, index)
		return fate{ledger.NotCommitted, cause}, true
	}
	var conflict *coord.ConflictError
	if errors.As(err, &conflict) && conflict.Key == w.keys.Leader() {
		return w.refused(err, nil), true
	}
	return fate{}, false // changed meanwhile, or unanswered again: read again
}
