package promise

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Observation is something that happened, at a true instant. Each checker looks at those that its promise is about, and at no others.
type Observation interface{ isObservation() }

// Leased: the process that serves under an incarnation may execute until an instant, by its own clocks and what it was told; 0: no longer.
type Leased struct {
	Owner  ledger.Owner
	Until  time.Duration
	Longer bool // somebody vouched for it; else its clocks changed, or it ended
}

// Vouched: a leader, or the store, said that an incarnation may hold a lease, which is over at an instant at the latest, drift of clocks covered.
type Vouched struct {
	Owner ledger.Owner
	Until time.Duration
}

// Over: a leader takes an incarnation for over, so that others may get what it had.
type Over struct {
	Owner ledger.Owner
	Why   string
}

// Began: a process may execute operations of a shard from now on, while it has a lease.
type Began struct {
	Shard shard.ID
	Owner ledger.Owner
	Term  shard.Term
}

// Ceased: it may no longer, and no operation runs.
type Ceased struct {
	Shard shard.ID
	Owner ledger.Owner
}

// Raised: an application raised the term of a shard's storage, or was told to and did so in memory.
type Raised struct {
	Shard shard.ID
	Owner ledger.Owner
	Term  shard.Term
	Has   int64 // writes that it knows
	Kept  bool  // every acknowledged write must be among them, whatever the secondary was that it may have been before
}

// Acknowledged: a client was told that its write is done; the shard has had so many.
type Acknowledged struct {
	Shard shard.ID
	Term  shard.Term // at which it was executed
	Write int64
}

// Failed: a client gave up on a request after its whole deadline.
type Failed struct {
	Shard   shard.ID
	Planned bool // nothing but planned events happened in this run
	Why     string
}

// SpecWritten: the app's spec is durable.
type SpecWritten struct{ Spec ledger.Spec }

// RowWritten: what is durable about a shard changed.
type RowWritten struct {
	Index         shard.Index
	Shard         shard.ID
	Before, After ledger.Row
}

// Committed: a transaction is over; all rows written since the last one were written at once.
type Committed struct{}

// Drain: an operator drains a server, or takes that back.
type Drain struct {
	Server  shard.ServerID
	On      bool
	Planned bool // nothing but planned events happens in this run
}

// Capacity: a server can hold so many replicas.
type Capacity struct {
	Server shard.ServerID
	Most   int
	Where  shard.Locality
}

// Sent: a leader gave a command to a stream.
type Sent struct {
	To      ledger.Owner
	Command message.Command
}

// Heard: a leader that holds the lock stored that it heard of a later one, although the store never went back.
type Heard struct{ Why string }

// Decided: a leader said what it decided, and why.
type Decided struct{ Decision ledger.Decision }

// Fenced: a fence is durable.
type Fenced struct {
	Fence    ledger.Fence
	Lost     int  // servers that the leader could not hear of for so long that it noticed
	Servers  int  // all of them
	Domain   bool // those lost are one whole zone or region
	Released bool // an operator said that what is held may be judged
}

// Approved: a piece of a planned event is durably approved.
type Approved struct {
	Event   string
	Servers []shard.ServerID
	Down    int // servers that are down for long enough that the leader knows, or approved to be, those of the piece included, each once
	Most    int // that may be
}

// GaveUp: an agent ended an incarnation. Proven says whether there was a reason for it: that nobody can be asked is none.
type GaveUp struct {
	Owner  ledger.Owner
	Proven bool
	Why    string
}

// Lapsed: a lease ran out under a process that lives, and whose agent lives and reached the store for as long as Sound says.
type Lapsed struct {
	Owner ledger.Owner
	Sound time.Duration
	Limit time.Duration // how long it may take until the lease goes on
}

// Left is the state of a shard when there had been no faults for a while.
type Left struct {
	Shard   shard.ID
	Calm    time.Duration
	Unowned string // why nobody serves it; empty: its owner does
}

func (Leased) isObservation()       {}
func (Vouched) isObservation()      {}
func (Over) isObservation()         {}
func (Began) isObservation()        {}
func (Ceased) isObservation()       {}
func (Raised) isObservation()       {}
func (Acknowledged) isObservation() {}
func (Failed) isObservation()       {}
func (SpecWritten) isObservation()  {}
func (RowWritten) isObservation()   {}
func (Committed) isObservation()    {}
func (Drain) isObservation()        {}
func (Capacity) isObservation()     {}
func (Sent) isObservation()         {}
func (Decided) isObservation()      {}
func (Fenced) isObservation()       {}
func (Approved) isObservation()     {}
func (Lapsed) isObservation()       {}
func (GaveUp) isObservation()       {}
func (Left) isObservation()         {}
func (Heard) isObservation()        {}
