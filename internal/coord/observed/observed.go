// Package observed tells of what a process asks of its coordination store.
//
// Called by whoever measures that, or judges by it whether the store works.
package observed

import (
	"context"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// Operation names a request to a store.
type Operation string

// Operations. A watch is none: it ends when something changes.
const (
	Txn            Operation = "txn"
	Get            Operation = "get"
	List           Operation = "list"
	CreateSession  Operation = "create_session"
	RenewSession   Operation = "renew_session"
	DestroySession Operation = "destroy_session"
)

// Store is a store that tells Saw of each request once it is answered, for how long it took, and what became of it.
type Store struct {
	coord.Store
	Saw func(ctx context.Context, op Operation, took time.Duration, err error)
}

// Txn implements coord.KV.
func (o Store) Txn(ctx context.Context, ops []coord.Op) (coord.Index, error) {
	began := time.Now()
	index, err := o.Store.Txn(ctx, ops)
	o.Saw(ctx, Txn, time.Since(began), err)
	return index, err
}

// Get implements coord.KV.
func (o Store) Get(ctx context.Context, key string) (coord.Entry, bool, error) {
	began := time.Now()
	entry, found, err := o.Store.Get(ctx, key)
	o.Saw(ctx, Get, time.Since(began), err)
	return entry, found, err
}

// List implements coord.KV.
func (o Store) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	began := time.Now()
	entries, err := o.Store.List(ctx, prefix)
	o.Saw(ctx, List, time.Since(began), err)
	return entries, err
}

// CreateSession implements coord.Sessions.
func (o Store) CreateSession(ctx context.Context, spec coord.SessionSpec) (coord.SessionID, error) {
	began := time.Now()
	id, err := o.Store.CreateSession(ctx, spec)
	o.Saw(ctx, CreateSession, time.Since(began), err)
	return id, err
}

// RenewSession implements coord.Sessions.
func (o Store) RenewSession(ctx context.Context, id coord.SessionID) (bool, error) {
	began := time.Now()
	found, err := o.Store.RenewSession(ctx, id)
	o.Saw(ctx, RenewSession, time.Since(began), err)
	return found, err
}

// DestroySession implements coord.Sessions.
func (o Store) DestroySession(ctx context.Context, id coord.SessionID) error {
	began := time.Now()
	err := o.Store.DestroySession(ctx, id)
	o.Saw(ctx, DestroySession, time.Since(began), err)
	return err
}
