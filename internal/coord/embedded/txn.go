package embedded

import (
	"context"
	"fmt"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// Txn commits all operations or none. A transaction that only checks writes nothing and answers the index that its answer holds for.
func (e *Engine) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	if err := coord.Check(ops); err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	if err := e.takeTurn(ctx); err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	defer e.giveTurn()
	s := staged{state: e.state, change: newChange()}
	for i, op := range ops {
		if reason := s.stage(op); reason != "" {
			return 0, &coord.ConflictError{Op: i, Key: op.Key, Reason: reason}
		}
	}
	if s.change.empty() {
		return e.state.index, nil
	}
	if err := e.commit(s.change); err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	return s.change.index, nil
}

// stage does one operation, or says why it does not hold. An absent key counts as modified at index 0 for CAS, so that CAS 0 creates.
func (s staged) stage(op coord.Op) string {
	entry, exists := s.entry(op.Key)
	switch op.Verb {
	case coord.Set:
		s.write(op.Key, op.Value, holderOf(entry))
	case coord.CAS:
		if reason := expectIndex(entry, op.Index); reason != "" {
			return reason
		}
		s.write(op.Key, op.Value, holderOf(entry))
	case coord.Delete:
		s.remove(op.Key)
	case coord.DeleteCAS:
		if !exists {
			return ""
		}
		if reason := expectIndex(entry, op.Index); reason != "" {
			return reason
		}
		s.remove(op.Key)
	case coord.Lock:
		if !s.alive(op.Session) {
			return fmt.Sprintf("session %s does not live", op.Session)
		}
		if holder := holderOf(entry); holder != "" && holder != op.Session {
			return "held by session " + string(holder)
		}
		s.write(op.Key, op.Value, op.Session)
	case coord.Unlock:
		if reason := s.expectHolder(entry, op.Session); reason != "" {
			return reason
		}
		s.write(op.Key, op.Value, "")
	case coord.CheckSession:
		return s.expectHolder(entry, op.Session)
	case coord.CheckIndex:
		if !exists {
			return "the key is absent"
		}
		return expectIndex(entry, op.Index)
	case coord.CheckNotExists:
		if exists {
			return "the key exists"
		}
	}
	return ""
}

func holderOf(entry *coord.Entry) coord.SessionID {
	if entry == nil {
		return ""
	}
	return entry.Session
}

func expectIndex(entry *coord.Entry, want coord.Index) string {
	var have coord.Index
	if entry != nil {
		have = entry.Modify
	}
	if have != want {
		return fmt.Sprintf("modified at index %d, not %d", have, want)
	}
	return ""
}

func (s staged) expectHolder(entry *coord.Entry, want coord.SessionID) string {
	switch {
	case entry == nil:
		return "the key is absent"
	case want == "":
		return "no session named"
	case entry.Session == "":
		return "held by nobody"
	case entry.Session != want:
		return "held by session " + string(entry.Session)
	case !s.alive(want):
		return fmt.Sprintf("session %s does not live", want)
	}
	return ""
}
