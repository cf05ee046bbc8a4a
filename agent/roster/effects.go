package roster

import (
	"time"

	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Effects is what the shell must do after a step, in the order of the fields; within a field, in order. The caller empties it between
// steps.
type Effects struct {
	Store    []StoreOp    // Save, RegisterKey and DestroySession strictly one after the other; the others at once
	Calls    []Call       // to the application; each answered by CallDone
	Cancels  []CallID     // calls that are to end now; a CallDone may follow
	Messages []Message    // to the leader; a stream that is gone swallows them
	Attach   []Attachment // who to attach as, from now on
	Hints    []Hint       // to the application's watchers
	Replies  []Reply      // to waiting requests
	Trace    []Decision
}

// Reset empties the effects and keeps their memory.
func (e *Effects) Reset() {
	*e = Effects{
		Store: e.Store[:0], Calls: e.Calls[:0], Cancels: e.Cancels[:0], Messages: e.Messages[:0], Attach: e.Attach[:0],
		Hints: e.Hints[:0], Replies: e.Replies[:0], Trace: e.Trace[:0],
	}
}

// StoreOp is work on the server's file, key or session.
//
//sumtype:decl
type StoreOp interface{ isStoreOp() }

// Save writes the server's file; answered by FileSaved.
type Save struct{ Saved Saved }

// RegisterKey destroys the session Old (empty: none), opens a new one, writes the file, then creates the key (R2): in this order, so
// that whoever restarts finds what it may clean up. Answered by KeyRegistered or KeyRefused, once that is certain (R12).
type RegisterKey struct {
	Server  shard.Server
	Process Process
	Old     string
	Ended   []shard.Incarnation // that this agent ended before, the newest last
	Highest shard.Epoch         // for the file
}

// ReadKey reads the key consistently; answered by KeyRead.
type ReadKey struct{ Saved Saved }

// RenewSession keeps the session alive; answered by SessionRenewed.
type RenewSession struct{ Session string }

// DestroySession ends the session and with it the key; answered by SessionDestroyed.
type DestroySession struct{ Session string }

func (Save) isStoreOp()           {}
func (RegisterKey) isStoreOp()    {}
func (ReadKey) isStoreOp()        {}
func (RenewSession) isStoreOp()   {}
func (DestroySession) isStoreOp() {}

// CallID numbers the calls of a roster.
type CallID uint64

// CallKind is a method of the application's ShardHostService.
type CallKind uint8

// Kinds of calls.
const (
	CallActivate CallKind = iota + 1
	CallAddShard
	CallDropShard
	CallPrepareAdd
	CallPrepareDrop
	CallCancelMove
	CallCollectLoad
	CallEndIncarnation
	CallUpdateMembership
)

// Call is one call to the application.
type Call struct {
	ID          CallID
	Kind        CallKind
	Host        string // address of the ShardHostService
	Incarnation shard.Incarnation
	Shard       shard.ID
	Order       shard.Order
	Role        shard.Role // CallAddShard
	Peer        shard.Peer
	Members     []shard.Member
	Deadline    time.Duration // from now
	Reason      string        // CallEndIncarnation
}

// Message goes to the leader.
type Message struct {
	Stream StreamID
	Body   Body
}

// Body of a message.
//
//sumtype:decl
type Body interface{ isBody() }

// Renew asks for the lease to go on.
type Renew struct {
	Sequence uint64
	AskedNS  int64
	Loads    []ShardLoad
	// Transfers is the state that the application was receiving when it last pulled.
	Transfers         []progress.Transfer
	ApplicationSilent time.Duration // it has not pulled for so long
	ServeOn           bool          // it may serve on, by the last word of a leader or by what the file still says
}

// Result answers a Command.
type Result struct {
	ID     CommandID
	Status Status
	Err    string
}

// DrainRequested asks to move everything away, or takes that back.
type DrainRequested struct{ On bool }

// RestRequested asks for a rest lease.
type RestRequested struct {
	Sequence uint64
	Length   time.Duration
}

// Ended reports that the incarnation is over.
type Ended struct {
	Incarnation shard.Incarnation
	ProvenDead  bool
	Reason      string
}

func (Renew) isBody()          {}
func (Result) isBody()         {}
func (DrainRequested) isBody() {}
func (RestRequested) isBody()  {}
func (Ended) isBody()          {}

// Attachment says who to attach as; incarnation 0: nobody, after what was sent before has gone out.
type Attachment struct{ Incarnation shard.Incarnation }

// Hint tells the application when to look again; it never carries time (R6).
type Hint uint8

// Hints.
const (
	HintPull Hint = iota + 1
	HintEnded
)

// RequestID numbers the requests that wait for a reply.
type RequestID uint64

// Reply answers AppRegistered, Pull or Rest.
type Reply struct {
	Request     RequestID
	Incarnation shard.Incarnation // AppRegistered: serves under it from now on
	Remaining   time.Duration     // Pull, Rest: of the lease; 0: none now
	Ended       bool              // Pull: that incarnation is over
	Highest     shard.Epoch       // Pull
	Interval    time.Duration     // AppRegistered: how often to pull
	Refusal     Refusal           // 0: none
	Why         string            // of a refusal, for people
}

// Refusal says why a request was not granted.
type Refusal uint8

// Refusals.
const (
	// RefusedBusy: another living process is this server.
	RefusedBusy Refusal = iota + 1
	// RefusedDuplicate: another agent holds the server's key (R26).
	RefusedDuplicate
	// RefusedStore: the store failed; ask again.
	RefusedStore
	// RefusedStopping: the agent stops.
	RefusedStopping
	// RefusedUnknown: no such incarnation is registered here; register again.
	RefusedUnknown
	// RefusedRest: no leader grants a rest lease now.
	RefusedRest
)

// Decision says what was decided and why, for logs and golden files. Fields that do not apply are empty.
type Decision struct {
	What        string // constant
	Weight      Weight
	Incarnation shard.Incarnation
	Shard       shard.ID
	Order       shard.Order
	Why         string
}

// Weight of a decision in a log.
type Weight uint8

// Weights.
const (
	// Detail: one step of normal work.
	Detail Weight = iota + 1
	// Notable: a change of a server's state.
	Notable
	// Trouble: something failed and is tried again.
	Trouble
)
