package sdk

import "context"

// Role of a replica. The zero value is no role.
type Role uint8

// Roles.
const (
	// RolePrimary executes everything; of a shard there is at most one at any instant.
	RolePrimary Role = iota + 1
	// RoleSecondary executes reads that may run at any replica (HeaderRead).
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
	// storage refuse a term lower than the highest it has seen for the shard. Of a secondary it is the term at which it was added: what its
	// primary sends may carry higher ones.
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

// Member is one secondary of a shard, as its primary has to know it.
type Member struct {
	Peer
	// InSync: it was in sync before, so that it has everything acknowledged up to now. False: it is new, and may have nothing.
	InSync bool
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
// instance after PrepareAddShard or after a failed AddShard. An application with secondaries has more ways, see RoleChanger.
type Handler interface {
	// AddShard makes the shard ready to serve; requests arrive once it has returned nil. An application without Activator loads its
	// state here: raise the storage's term first, then read. With one, everything is loaded already, forwarded requests may be
	// running, and there is often nothing to do. With s.Role RoleSecondary it makes the shard ready to take what its primary replicates.
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

// RoleChanger is implemented, together with MembershipUpdater, by applications whose shards have secondaries. A server without the two
// refuses to be a secondary. A replica then changes as follows; in the first line it comes, and DropShard may end each:
//
//	as a secondary:                    AddShard (with RoleSecondary)
//	a secondary takes over:            [Activate]  UpdateMembership  ChangeRole (to RolePrimary)
//	a primary steps back:              ChangeRole (to RoleSecondary)
//	a primary without secondaries yet: as in Handler, with UpdateMembership after Activate
//
// A secondary that is the target of a planned move is not asked to prepare: it has the state.
type RoleChanger interface {
	// ChangeRole makes a replica that is here a primary or a secondary; s.Role is to.
	//
	// To RolePrimary: it takes the place of AddShard, and of Activate in an application without that. To RoleSecondary: no operation
	// of the primary runs any more, and UpdateMembership has returned. What it holds may be ahead of the new primary: it is brought
	// up to date by that primary, as a member that is not in sync.
	ChangeRole(ctx context.Context, s Shard, from, to Role) error
}

// MembershipUpdater is implemented, together with RoleChanger, by primaries that replicate to secondaries themselves.
type MembershipUpdater interface {
	// UpdateMembership gives a primary all secondaries of the shard, none at all perhaps. It returns nil once every member has applied
	// everything acknowledged so far; from then on no write may be acknowledged before every member has applied it, and from the
	// beginning of the call before every member in sync has. A secondary that is missing is waited for no longer: writes that wait for it
	// alone are acknowledged.
	//
	// The first call at a term comes after Activate and before any request: until it has returned nothing is acknowledged. A call
	// may take long. Operations run meanwhile, and other callbacks of the shard may, but no second UpdateMembership. The context ends
	// when a newer list takes the place of this one and when the shard stops being primary here: return at once; what was begun for
	// members that stay may go on in the next call.
	UpdateMembership(ctx context.Context, s Shard, members []Member) error
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
	// Operation: one of a primary whose final lease check passed, from its start to that check. Reads at a secondary are not told.
	Operation(shard string, term uint64, start, end int64)
}
