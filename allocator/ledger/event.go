package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/evidence"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Event is everything that can happen to a ledger.
//
//sumtype:decl
type Event interface{ isEvent() }

// StreamID names one Attach stream within the allocator's process; a later stream has a higher number.
type StreamID uint64

// Loaded starts the ledger: everything that was stored, read consistently after the acquire of the lock and before anything else
// (PROTOCOL R12). Servers that no key names are absent from Registered.
type Loaded struct {
	Epoch      shard.Epoch
	Acquired   shard.Instant // read after the acquire was answered: waits count from it
	Clean      bool          // the lock carried its predecessor's clean mark (PROTOCOL R1)
	Confirmed  shard.Instant // read before a consistent read that showed the lock as ours
	Apps       []AppState
	Registered []Registration
	Fences     []Fence
	Rests      []Rest
	Drains     []shard.ServerID

	Probations  map[shard.ServerID]probation.Probation
	Quarantines []probation.Quarantine
	Events      []event.Event
}

// LockConfirmed reports a consistent read that showed the lock held under this epoch.
type LockConfirmed struct {
	Asked shard.Instant // read before the read was sent (PROTOCOL R7)
}

// ClockRead tells the time of day, at least once a minute: windows and starts of planned events are in it, and nothing else.
type ClockRead struct{ Wall time.Time }

// Hello opens a stream. The ledger answers Welcome or Refuse, after it read the server's key.
type Hello struct {
	Stream       StreamID
	Server       shard.Server
	Held         []shard.Held
	HighestEpoch shard.Epoch
	Draining     bool
	Replicates   bool // its application has the callbacks that secondaries need
}

// Detached reports the end of a stream, whoever ended it. Reset is true where the connection broke or was refused, false where the
// agent closed it in order.
type Detached struct {
	Stream StreamID
	Reset  bool
}

// Renew asks for the lease of the stream's incarnation.
type Renew struct {
	Stream   StreamID
	Sequence uint64
	AskedNS  int64 // agent's clock; only differences on one stream mean anything
	Loads    []ShardLoad
	// Transfers is the state that the server receives now.
	Transfers []progress.Transfer
	// ApplicationSilent: the application has not pulled from its agent for so long.
	ApplicationSilent time.Duration
	// ServeOn: the server may serve on while nobody vouches. False is a promise.
	ServeOn bool
}

// ShardLoad is the measured load of one shard, per metric, fixed point.
type ShardLoad struct {
	Shard shard.ID
	Load  map[string]int64
}

// Result answers a Command.
type Result struct {
	Stream StreamID
	ID     message.CommandID
	Status Status
	Err    string // for people
}

// Status of a Result; the numbers are those of the wire.
type Status uint8

// Statuses.
const (
	Done Status = iota + 1
	NotBegun
	Begun
	Stale
	Failed
	Busy
)

// ProbeAnswer answers a Probe.
type ProbeAnswer struct {
	Stream      StreamID
	ID          uint64
	Server      shard.ServerID
	Agent       evidence.Outcome
	Application evidence.Outcome
}

// DrainRequested asks to drain the stream's server while its incarnation lasts, or takes that back.
type DrainRequested struct {
	Stream StreamID
	On     bool
}

// RestRequested asks for a rest lease (PROTOCOL R19).
type RestRequested struct {
	Stream   StreamID
	Sequence uint64
	Length   time.Duration
}

// Ended reports that the agent ended the incarnation itself (PROTOCOL R5).
type Ended struct {
	Stream      StreamID
	Incarnation shard.Incarnation
	ProvenDead  bool
	Reason      string
}

// RegistrationRead answers a ReadRegistration: the server's key, read consistently.
type RegistrationRead struct {
	Server shard.ServerID
	Asked  shard.Instant
	Found  bool
	Key    Registration // valid if Found
	Err    string       // not empty: could not be read, nothing is known; the ledger asks again
}

// RegistrationsSeen carries the watched keys of all servers: news for servers that are not attached. It may be old: the ledger only reads the key then.
type RegistrationsSeen struct {
	Keys []Registration
}

// WriteDone answers a Write.
type WriteDone struct {
	ID      WriteID
	Outcome WriteOutcome
	Err     string // for people
}

// WriteOutcome is what became of a write. Unknown outcomes are resolved by the shell before it reports (PROTOCOL R12).
type WriteOutcome uint8

// Outcomes of writes.
const (
	// Committed: durable.
	Committed WriteOutcome = iota + 1
	// NotCommitted: certainly not and never; the store is slow, full or away. The ledger tries again with backoff.
	NotCommitted
	// Superseded: the lock is no longer ours. The ledger stops for good.
	Superseded
	// ServerChanged: the key of the server to be fenced is not the one that was read. The ledger reads it again.
	ServerChanged
)

// PlanReady answers Effects.Solve.
type PlanReady struct {
	Plan placement.Plan
}

// Request is an operator's wish; answered by a Reply with its number.
type Request struct {
	ID   uint64
	Wish wish.Wish
}

// StopRequested ends the leadership in order: grants stop at once, then the ledger says when the lock may be released, and how.
type StopRequested struct{}

func (Loaded) isEvent()            {}
func (ClockRead) isEvent()         {}
func (LockConfirmed) isEvent()     {}
func (Hello) isEvent()             {}
func (Detached) isEvent()          {}
func (Renew) isEvent()             {}
func (Result) isEvent()            {}
func (ProbeAnswer) isEvent()       {}
func (DrainRequested) isEvent()    {}
func (RestRequested) isEvent()     {}
func (Ended) isEvent()             {}
func (RegistrationRead) isEvent()  {}
func (RegistrationsSeen) isEvent() {}
func (WriteDone) isEvent()         {}
func (PlanReady) isEvent()         {}
func (Request) isEvent()           {}
func (StopRequested) isEvent()     {}
