package api

import (
	"context"
	"errors"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// ErrNotLeading is a Leader's answer once it has stepped down.
var ErrNotLeading = errors.New("does not lead any more")

// Leader is the loop of an allocator that leads.
type Leader interface {
	// Post hands an event to the ledger and waits for room; ErrNotLeading or the context's error if it was not taken.
	Post(ctx context.Context, event ledger.Event) error
	// Ask hands a wish to the ledger and waits for its reply. ErrNotLeading: the wish may have been carried out all the same.
	Ask(ctx context.Context, wish wish.Wish) (ledger.Reply, error)
	// View is what the ledger knew less than ViewAge ago.
	View(ctx context.Context) (*View, error)
	// Explain is what the ledger knows of one shard now.
	Explain(ctx context.Context, app shard.App, id shard.ID) (*Explained, error)
	// Ended is closed when the leadership is over.
	Ended() <-chan struct{}
}

// Node is the allocator that the handlers serve.
type Node interface {
	// Leader is nil while this allocator does not lead.
	Leader() Leader
	Status() Status
}

// Status is what an allocator knows without leading.
type Status struct {
	Cluster      string
	Name         string
	Version      string
	Leader       string // name of whoever holds the lock; empty: nobody, or unknown
	LeaderData   string // host:port of its AllocatorService
	LeaderAdmin  string // host:port of its AdminService
	Barred       string // why nobody may lead (PROTOCOL R14); empty: somebody may
	StoreTrouble string // why the store cannot be used; empty: it can
}
