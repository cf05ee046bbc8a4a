package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// retryPause is how long the writer waits between two attempts to learn what became of a transaction.
const retryPause = 100 * time.Millisecond

// writer commits a leader's writes, one at a time: what allocator/writer.go does.
type writer struct {
	t        *tenure
	sequence uint64 // at which the sequence key was last seen
	number   uint64 // of the last transaction
}

func (w *writer) write(wr ledger.Write) {
	began := w.t.a.now()
	w.try(wr.Ops, func(c committed, ok bool) {
		if !ok {
			w.resolve(wr, began, w.number)
			return
		}
		w.took(c)
		w.settle(wr, c.answer)
	})
}

// try sends one transaction behind the guard.
func (w *writer) try(ops []ledger.WriteOp, done func(committed, bool)) {
	w.number++
	s := w.t.w.store
	tx := transaction{session: w.t.session, epoch: w.t.epoch, sequence: w.sequence, number: w.number, sent: w.t.w.queue.Now(), ops: ops}
	call[committed]{from: w.t.a.at, to: theStore, timeout: w.t.w.settings.LeaderValidity / 4,
		serve: func(answer func(committed)) { s.process.Do(func() { answer(s.commit(tx)) }) },
		done: func(c committed, ok bool) {
			if !w.t.over {
				done(c, ok)
			}
		},
	}.make(w.t.w, w.t.a.process)
}

func (w *writer) took(c committed) {
	if c.answer == didCommit {
		w.sequence = c.sequence
	}
}

// resolve decides a transaction that was sent and not answered (PROTOCOL R12): the sequence key shows its number, or that key is written again,
// after which the lost transaction can never commit.
func (w *writer) resolve(wr ledger.Write, began shard.Instant, number uint64) {
	s := w.t.w.store
	again := func() {
		if began.PermissionAge(w.t.a.now()) >= w.t.w.settings.LeaderValidity {
			w.settle(wr, lockLost)
			return
		}
		w.t.a.process.After(retryPause, func() {
			if !w.t.over {
				w.resolve(wr, began, number)
			}
		})
	}
	call[sequence]{from: w.t.a.at, to: theStore, timeout: w.t.w.settings.LeaderValidity / 4,
		serve: func(answer func(sequence)) { s.process.Do(func() { answer(s.sequence) }) },
		done: func(seen sequence, ok bool) {
			if w.t.over {
				return
			}
			if !ok {
				again()
				return
			}
			w.sequence = seen.modify
			if seen.epoch == w.t.epoch && seen.number == number {
				w.settle(wr, didCommit)
				return
			}
			w.try(nil, func(c committed, ok bool) {
				switch {
				case ok && c.answer == didCommit:
					w.took(c)
					w.settle(wr, storeFull)
				case ok && c.answer == lockLost:
					w.settle(wr, lockLost)
				default: // changed meanwhile, or unanswered again: read again
					again()
				}
			})
		},
	}.make(w.t.w, w.t.a.process)
}

// settle tells the ledger what became of a write.
func (w *writer) settle(wr ledger.Write, a answer) {
	done := ledger.WriteDone{ID: wr.ID, Outcome: ledger.NotCommitted, Err: "the store refuses"}
	switch a {
	case didCommit:
		done.Outcome, done.Err = ledger.Committed, ""
	case lockLost, sequenceMoved:
		done.Outcome, done.Err = ledger.Superseded, "the lock is lost"
	case keyChanged:
		done.Outcome, done.Err = ledger.ServerChanged, "the server's key changed"
	case storeFull:
	}
	w.t.step(done)
}
