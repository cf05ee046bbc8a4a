package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord"
)

const (
	// lockDelayPause lets a lock delay of our own sessions pass.
	lockDelayPause = 2 * time.Millisecond
	// lockDelayTries bounds how often a transaction is sent again that met one; a longer delay is somebody else's and a conflict.
	lockDelayTries = 5
	// maxFlags keeps flags within what JSON readers of any kind take for a whole number.
	maxFlags = 1 << 53
)

// Txn commits all operations or none. A transaction that only checks or deletes answers no index.
func (s *Store) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	if err := coord.Check(ops); err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	request, err := encode(ops)
	if err != nil {
		return 0, fmt.Errorf("transaction: %w", err)
	}
	for try := 1; ; try++ {
		index, conflict, err := s.txn(ctx, ops, request)
		switch {
		case err != nil:
			return 0, fmt.Errorf("transaction: %w", err)
		case conflict == nil:
			return index, nil
		case try == lockDelayTries || !strings.Contains(conflict.Reason, saysLockDelay) || !clock.Pause(ctx, lockDelayPause):
			return 0, conflict
		}
	}
}

// txn sends a transaction once.
func (s *Store) txn(ctx context.Context, ops []coord.Op, request api.TxnOps) (index coord.Index, conflict *coord.ConflictError, err error) {
	err = call(ctx, effectOf(ops), func(ctx context.Context) error {
		ok, response, _, err := s.api.Txn().Txn(request, consistent(ctx))
		switch {
		case err != nil:
			return err
		case !ok:
			conflict, err = conflictOf(ops, response.Errors)
			return err
		}
		index, err = indexOf(ops, response.Results)
		return err
	})
	return index, conflict, err
}

// verbs are Consul's names of ours.
var verbs = map[coord.Verb]api.KVOp{
	coord.Set: api.KVSet, coord.CAS: api.KVCAS, coord.Delete: api.KVDelete, coord.DeleteCAS: api.KVDeleteCAS, coord.Lock: api.KVLock,
	coord.Unlock: api.KVUnlock, coord.CheckSession: api.KVCheckSession, coord.CheckIndex: api.KVCheckIndex,
	coord.CheckNotExists: api.KVCheckNotExists,
}

func encode(ops []coord.Op) (api.TxnOps, error) {
	out := make(api.TxnOps, len(ops))
	for i, op := range ops {
		kv := &api.KVTxnOp{Verb: verbs[op.Verb], Key: op.Key}
		switch op.Verb {
		case coord.Lock, coord.Unlock, coord.CheckSession:
			if op.Session == "" { // Consul takes no session for a key that nobody holds
				return nil, fmt.Errorf("operation %d, key %s: expected a session", i, op.Key)
			}
			kv.Session = string(op.Session)
		case coord.CAS, coord.DeleteCAS, coord.CheckIndex:
			kv.Index = uint64(op.Index)
		case coord.Set, coord.Delete, coord.CheckNotExists:
		}
		if writes(op) {
			kv.Value, kv.Flags = op.Value, 1+rand.Uint64N(maxFlags-1)
		}
		out[i] = &api.TxnOp{KV: kv}
	}
	return out, nil
}

// writes reports whether an operation gives its key a value.
func writes(op coord.Op) bool {
	return op.Verb == coord.Set || op.Verb == coord.CAS || op.Verb == coord.Lock || op.Verb == coord.Unlock
}

func effectOf(ops []coord.Op) effect {
	for _, op := range ops {
		if writes(op) || op.Verb == coord.Delete || op.Verb == coord.DeleteCAS {
			return changes
		}
	}
	return reads
}

// conflictOf names the first operation that did not hold. What a token may not do is no conflict.
func conflictOf(ops []coord.Op, failed api.TxnErrors) (*coord.ConflictError, error) {
	var first *api.TxnError
	for _, e := range failed {
		if strings.Contains(e.What, saysDenied) {
			return nil, denied(e.What)
		}
		if first == nil || e.OpIndex < first.OpIndex {
			first = e
		}
	}
	if first == nil || first.OpIndex < 0 || first.OpIndex >= len(ops) {
		return nil, fmt.Errorf("%w: rolled back without a reason", errForeign)
	}
	return &coord.ConflictError{Op: first.OpIndex, Key: ops[first.OpIndex].Key, Reason: first.What}, nil
}

// indexOf finds the index at which the transaction was committed.
func indexOf(ops []coord.Op, results api.TxnResults) (coord.Index, error) {
	written := map[string]bool{}
	for _, op := range ops {
		if writes(op) {
			written[op.Key] = true
		}
	}
	var index uint64
	for _, r := range results {
		if r.KV != nil && written[r.KV.Key] {
			index = max(index, r.KV.ModifyIndex)
		}
	}
	if index == 0 && len(written) > 0 {
		return 0, errors.New("committed, but the answer lacks the index: the token must be able to read what it writes")
	}
	return coord.Index(index), nil
}
