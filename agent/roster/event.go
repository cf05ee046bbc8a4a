package roster

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/receiver"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Event is everything that can happen to a server.
//
//sumtype:decl
type Event interface{ isEvent() }

// Process is an application's process as the host's kernel names it.
type Process struct {
	PID        int64
	StartTicks uint64 // clock ticks since boot at which it started: tells it from a later process with the same number
	// ExitProves: the process stated its own pid and pid namespace, equal to what the kernel says, and does all its work itself: its
	// exit proves that nothing of it runs any more (R5).
	ExitProves bool
}

// Same reports whether p and q are one process.
func (p Process) Same(q Process) bool { return p.PID == q.PID && p.StartTicks == q.StartTicks }

// Saved is what stands in the server's file: a hint after a restart, never authority (R4).
type Saved struct {
	Incarnation shard.Incarnation // 0: none
	Session     string            // session that holds the key; it may be destroyed by us, and only because it stands here (R26)
	Create      uint64            // index of the key's creation; 0: the registration was not seen to end
	Ended       bool
	ProvenDead  bool
	Process     Process
	ServeOn     bool        // it may serve on while nobody vouches, as the leader said last (R34)
	Highest     shard.Epoch // that was obeyed when the file was written last: of its generation for certain (R14)
}

// Started is the first event: what the file says, and whether the process that it names still lives.
type Started struct {
	Saved Saved
	Alive bool
}

// Application is what a process says of itself.
type Application struct {
	Process     Process
	HostAddress string // of its ShardHostService
	DataAddress string
	Version     string
	Capacity    map[string]int64
	Labels      map[string]string
	// Which optional callbacks it has.
	Activate, Prepare, ChangeRole, Membership, Load bool
}

// AppRegistered: a process asks to be this server. Answered by Reply, at once or once the registration was decided.
type AppRegistered struct {
	Request     RequestID
	Application Application
	Incarnation shard.Incarnation // under which it serves already; 0: it holds nothing
	Held        []shard.Held
	Highest     shard.Epoch
	Fresh       shard.Incarnation // drawn by the shell: the next incarnation, if one begins
}

// AppGone: the process has exited, seen by its pidfd.
type AppGone struct {
	Process Process
}

// Pull asks for the remaining lease; answered at once.
type Pull struct {
	Request     RequestID
	Incarnation shard.Incarnation
	Transfers   []progress.Transfer // state that the application receives now
}

// FileSaved answers Save.
type FileSaved struct {
	Saved Saved
	Err   string // empty: durable
}

// KeyRegistered answers RegisterKey: the key is ours.
type KeyRegistered struct {
	Incarnation shard.Incarnation
	Session     string
	Create      uint64
}

// KeyRefused answers RegisterKey: certainly not registered. Session is what may still have to be destroyed.
type KeyRefused struct {
	Incarnation shard.Incarnation
	Session     string
	Holder      string // who holds the key, for people; empty: the store failed
	Why         string
}

// KeyState is what a consistent read of the server's key says.
type KeyState uint8

// States of a key.
const (
	// KeyOurs: it stands there with our session, create index and incarnation (R2).
	KeyOurs KeyState = iota + 1
	// KeyGone: it is absent or another's.
	KeyGone
	// KeyUnknown: the read failed; no proof, and no fence either (R31).
	KeyUnknown
)

// KeyRead answers ReadKey.
type KeyRead struct {
	Incarnation shard.Incarnation
	State       KeyState
	Why         string
}

// SessionRenewed answers RenewSession. Lost is true only where the store says that there is no such session.
type SessionRenewed struct {
	Session string
	Lost    bool
	Err     string
}

// SessionDestroyed answers DestroySession.
type SessionDestroyed struct {
	Session string
	Err     string // empty: it is gone
}

// StreamID names an Attach stream within the agent; a later one has a higher number.
type StreamID uint64

// Attached: a leader welcomed the incarnation.
type Attached struct {
	Stream      StreamID
	Incarnation shard.Incarnation
	Epoch       shard.Epoch
	Interval    time.Duration
	Validity    time.Duration
}

// Detached: the stream ended.
type Detached struct {
	Stream StreamID
	Why    string
}

// Granted answers a Renew.
type Granted struct {
	Stream    StreamID
	Sequence  uint64
	Remaining time.Duration
	ServeOn   bool // the server may serve on while nobody vouches; says nothing if nothing is granted
}

// RestGranted answers a RestRequested; 0 refuses.
type RestGranted struct {
	Stream    StreamID
	Sequence  uint64
	Remaining time.Duration
}

// Fenced: the incarnation is over for the cluster.
type Fenced struct {
	Incarnation shard.Incarnation
	Reason      string
}

// DrainProgress: so many shards are left.
type DrainProgress struct {
	Stream    StreamID
	Remaining int
}

// A command's kind and name, and what its answer says.
type (
	Kind      = receiver.Kind
	CommandID = receiver.CommandID
	Status    = receiver.Status
)

// Kinds and statuses.
const (
	AddShard, DropShard, PrepareAddShard, PrepareDropShard = receiver.AddShard, receiver.DropShard, receiver.PrepareAddShard, receiver.PrepareDropShard
	CancelMove, UpdateMembership                           = receiver.CancelMove, receiver.UpdateMembership

	Done, NotBegun, Begun, Stale, Failed, Busy = receiver.Done, receiver.NotBegun, receiver.Begun, receiver.Stale, receiver.Failed, receiver.Busy
)

// Command asks for one step at one shard; answered by a Result, even if it comes again.
type Command struct {
	Stream   StreamID
	ID       CommandID
	Role     shard.Role // AddShard: to take; 0: primary
	Peer     shard.Peer
	Members  []shard.Member // secondaries of a primary
	Deadline time.Duration  // counted from receipt; 0: the default
}

// Outcome of a call to the application.
type Outcome uint8

// Outcomes.
const (
	CallOK Outcome = iota + 1
	CallStale
	CallBusy
	CallNotBegun
	CallBegun
	CallFailed
)

// CallDone answers a Call.
type CallDone struct {
	ID      CallID
	Outcome Outcome
	Err     string
	Loads   []ShardLoad // CollectLoad
}

// ShardLoad is the measured load of one shard, per metric, fixed point.
type ShardLoad struct {
	Shard shard.ID
	Load  map[string]int64
}

// Drain asks the leader to move every shard away, or takes that back.
type Drain struct{ On bool }

// Rest asks for a lease that outlasts a restart of the agent (R19). Answered by a Reply.
type Rest struct {
	Request RequestID
	Length  time.Duration
}

// Stop ends the incarnation, and takes no other on.
type Stop struct{ Reason string }

func (Started) isEvent()          {}
func (AppRegistered) isEvent()    {}
func (AppGone) isEvent()          {}
func (Pull) isEvent()             {}
func (FileSaved) isEvent()        {}
func (KeyRegistered) isEvent()    {}
func (KeyRefused) isEvent()       {}
func (KeyRead) isEvent()          {}
func (SessionRenewed) isEvent()   {}
func (SessionDestroyed) isEvent() {}
func (Attached) isEvent()         {}
func (Detached) isEvent()         {}
func (Granted) isEvent()          {}
func (RestGranted) isEvent()      {}
func (Fenced) isEvent()           {}
func (DrainProgress) isEvent()    {}
func (Command) isEvent()          {}
func (CallDone) isEvent()         {}
func (Drain) isEvent()            {}
func (Rest) isEvent()             {}
func (Stop) isEvent()             {}
