package sdk

import "context"

// Role of a replica. The zero value is no role.
type Role uint8

// Roles. Today every replica is a primary: secondaries are not supported yet.
const (
	RolePrimary Role = iota + 1
	RoleSecondary
)

// String names the role.
func (r Role) String() string {
	switch r {
	case RolePrimary:
		return "primary"
	case RoleSecondary:
		return "secondary"
	}
	return "none"
}

// Shard is a shard as a callback or an operation sees it.
type Shard struct {
	// App and ID name the shard; an id is unique within its app.
	App string
	ID  string
	// Term is the fencing token: it only grows, and every grant of the primary role has a new one. Write it with everything, and let the
	// storage refuse a term lower than the highest it has seen for the shard.
	Term uint64
	Role Role
}

// Peer is the other server of a move.
type Peer struct {
	// Server is its id, `<agent>.<app>`.
	Server string
	// DataAddress is where it takes requests, host:port.
	DataAddress string
	// Incarnation is one life of it.
	Incarnation uint64
}

// Handler is what every application implements. Calls for one shard never overlap, calls for different shards run in parallel. A call
// that failed is repeated, so each has to be idempotent. The context ends when the caller gives up or this server's life is over.
//
// A shard comes in one of three ways:
//
//	first placement, failover:  [Activate]  AddShard
//	planned move:               [PrepareAddShard]  [Activate]  AddShard
//	move aborted, shard stays:  [Activate]  AddShard           (again, at a higher term, without DropShard in between)
//
// and leaves with DropShard, always. What is in brackets is optional, see Activator and Preparer. DropShard may come at any point, for
// instance after PrepareAddShard or after a failed AddShard.
type Handler interface {
	// AddShard makes the shard ready to serve; requests arrive once it has returned nil. An application without Activator loads its
	// state here: raise the storage's term first, then read. With one, everything is loaded already, forwarded requests may be
	// running, and there is often nothing to do.
	AddShard(ctx context.Context, s Shard) error
	// DropShard lets go of everything held for the shard. No operation runs any more when it is called. Nothing that it does may
	// reach the storage of the shard: somebody else may own it already.
	DropShard(ctx context.Context, s Shard) error
}

// Activator is implemented by applications that want to know when the right to write begins. In a planned move that is before
// AddShard: the previous owner forwards requests in between.
type Activator interface {
	// Activate is called once the previous owner has stopped: raise the storage's term to s.Term first, then read what was missed. state
	// is what the previous owner's LastState returned; nil for a first placement, after a failover, and when a shard that was handed
	// over comes back because the move was aborted: what this server still has in memory is then the best there is, so keep it in
	// LastState and let go of it in DropShard.
	Activate(ctx context.Context, s Shard, state []byte) error
}

// Preparer is implemented by applications that load much: the previous owner serves on meanwhile.
type Preparer interface {
	// PrepareAddShard loads what can be loaded while from serves on. It must not touch the storage's term: the move may be aborted.
	PrepareAddShard(ctx context.Context, s Shard, from Peer) error
}

// StateSource is implemented by applications that hand state from memory to the next owner in a planned move. It needs Activator.
type StateSource interface {
	// LastState returns what the next owner's Activate gets, at most 64 MiB. It is called after the last own operation has ended, and
	// again only if it failed.
	LastState(ctx context.Context, s Shard) ([]byte, error)
}

// RoleChanger is implemented by applications with secondaries. They are not supported yet: it is not called today with another role
// than RolePrimary.
type RoleChanger interface {
	ChangeRole(ctx context.Context, s Shard, from, to Role) error
}

// MembershipUpdater is implemented by primaries that replicate to secondaries themselves.
type MembershipUpdater interface {
	UpdateMembership(ctx context.Context, s Shard, members []Peer) error
}

// LoadCollector is implemented by applications that know what their shards cost.
type LoadCollector interface {
	// CollectLoad returns the load of each shard by metric, in the metric's own fixed-point unit. It has to be cheap: it is called
	// every few seconds.
	CollectLoad(ctx context.Context) (map[string]map[string]int64, error)
}

// Observer is told what the guard did, for checkers and metrics. Instants are CLOCK_MONOTONIC_RAW of this machine in nanoseconds. It is
// called inline, from many goroutines, and has to be fast.
type Observer interface {
	// Activated: the right to execute began; Activate (or AddShard, without Activator) has returned.
	Activated(shard string, term uint64, at int64)
	// Released: it ended; the last token was returned after the shard had been stopped.
	Released(shard string, term uint64, at int64)
	// LeaseExtended: the lease now ends at end.
	LeaseExtended(end int64)
	// LeaseRevoked: the lease ended before its time, at at.
	LeaseRevoked(at int64)
	// Operation: one whose final lease check passed, from its start to that check.
	Operation(shard string, term uint64, start, end int64)
}
