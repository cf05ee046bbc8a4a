// Package coord says what Shard Manager needs of a coordination store, in small interfaces, and keeps the conformance suite
// (coordtest) that every store passes: the embedded one and Consul.
//
// The store is a set of keys with a create and a modify index each (indexes come from one counter that only grows), transactions of
// compare-and-set operations, and sessions that hold keys. Semantics follow Consul's:
//
//   - a transaction commits whole or not at all; a conflict names the first operation that did not hold;
//   - reads are consistent: they see every transaction whose answer was received before the read was sent;
//   - a session ends when destroyed, or when not renewed for twice its TTL; then the keys that it holds are deleted or released,
//     as it was created. All such timers restart in full when the store restarts. Renewing a session proves nothing;
//   - a watch delivers every state's successor eventually, deletes included, and may skip states in between.
//
// An error that wraps ErrUnknown means that the transaction may have committed, or may still (PROTOCOL R12). Any other error means
// that it did not and never will.
package coord

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Index orders all changes of a store.
type Index uint64

// SessionID names a session.
type SessionID string

// Limits that every store accepts; those of Consul, which takes 128 operations in a request of 512 KiB (an older one takes 64 operations). In it a
// value is base64 and an operation has up to 200 bytes beside key and value, so that 360 KiB of keys and values always fit.
const (
	MaxTxnOps     = 128
	MaxTxnBytes   = 360 << 10 // keys and values
	MaxValueBytes = 512 << 10
	MaxKeyBytes   = 512
)

// Errors that callers branch on.
var (
	// ErrUnknown: sent, but unanswered: it may have happened, or happen yet.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnavailable: the store cannot be reached or cannot serve now; nothing happened.
	ErrUnavailable = errors.New("store unavailable")
	// ErrFull: no space is left for the write; nothing happened.
	ErrFull = errors.New("store full")
	// ErrTooLarge: over a limit; nothing happened.
	ErrTooLarge = errors.New("too large")
)

// ConflictError says which operation of a transaction did not hold. Nothing was committed.
type ConflictError struct {
	Op     int // position in the transaction
	Key    string
	Reason string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("conflict at operation %d, key %s: %s", e.Op, e.Key, e.Reason)
}

// Entry is one key.
type Entry struct {
	Key     string
	Value   []byte
	Create  Index     // when the key came into being
	Modify  Index     // when it last changed
	Session SessionID // holder; empty: none
}

// Verb of an operation.
type Verb uint8

// Verbs; the numbers are those of the wire.
const (
	// Set writes unconditionally.
	Set Verb = iota + 1
	// CAS writes if the key's modify index is Index.
	CAS
	// Delete deletes unconditionally; deleting an absent key is fine.
	Delete
	// DeleteCAS deletes if the key's modify index is Index; that an absent key stays absent is fine, as in Consul.
	DeleteCAS
	// Lock writes, and takes the key for Session; it holds if nobody or the same session has the key, and the session lives.
	Lock
	// Unlock writes, and releases the key from Session, which must hold it.
	Unlock
	// CheckSession holds if Session holds the key.
	CheckSession
	// CheckIndex holds if the key's modify index is Index.
	CheckIndex
	// CheckNotExists holds if the key is absent.
	CheckNotExists
)

// Op is one operation of a transaction.
type Op struct {
	Verb    Verb
	Key     string
	Value   []byte    // Set, CAS, Lock, Unlock
	Index   Index     // CAS, DeleteCAS, CheckIndex
	Session SessionID // Lock, Unlock, CheckSession
}

// Behavior says what becomes of a session's keys when it ends.
type Behavior uint8

// Behaviors; the numbers are those of the wire.
const (
	Release Behavior = iota + 1
	DeleteKeys
)

// SessionSpec describes a new session.
type SessionSpec struct {
	Name     string // for people
	TTL      time.Duration
	Behavior Behavior
}

// KV is transactions and consistent reads.
type KV interface {
	// Txn commits all operations and returns the index at which every written key was modified; *ConflictError if one did not hold.
	Txn(ctx context.Context, ops []Op) (Index, error)
	// Get reads one key, consistently.
	Get(ctx context.Context, key string) (Entry, bool, error)
	// List reads every key with a prefix, consistently, in key order.
	List(ctx context.Context, prefix string) ([]Entry, error)
}

// Sessions is the life of sessions.
type Sessions interface {
	CreateSession(ctx context.Context, spec SessionSpec) (SessionID, error)
	// RenewSession reports false if there is no such session.
	RenewSession(ctx context.Context, id SessionID) (bool, error)
	// DestroySession ends a session; an absent one is fine.
	DestroySession(ctx context.Context, id SessionID) error
}

// Watcher follows a prefix.
type Watcher interface {
	// Watch calls fn with the whole prefix in key order, first at once and then after every change, until ctx ends; it retries by
	// itself. fn is never called concurrently.
	Watch(ctx context.Context, prefix string, fn func([]Entry)) error
}

// Store is all three.
type Store interface {
	KV
	Sessions
	Watcher
}
