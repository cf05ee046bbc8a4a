package ledger

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Effects is what the shell must do after a step, in the order of the fields; within a field, in order. The caller empties it between
// steps. What depends on a write is only ever emitted by the step that learns that the write is durable.
type Effects struct {
	Writes   []Write
	Messages []Message
	Publish  []Publication
	Solve    []placement.Input // solved off the loop; each answered by PlanReady
	Reads    []ReadRegistration
	Sessions []string // sessions to destroy, after their fence; nobody waits for that
	Replies  []Reply
	Trace    []Decision
	Stop     *Stop
}

// Reset empties the effects and keeps their memory.
func (e *Effects) Reset() {
	*e = Effects{
		Writes: e.Writes[:0], Messages: e.Messages[:0], Publish: e.Publish[:0], Solve: e.Solve[:0], Reads: e.Reads[:0],
		Sessions: e.Sessions[:0], Replies: e.Replies[:0], Trace: e.Trace[:0],
	}
}

// WriteID numbers the writes of a ledger.
type WriteID uint64

// Write is one atomic transaction; at most one is under way at a time. The shell adds the check of the lock's session, the sequence key
// and the compare-and-set indexes.
type Write struct {
	ID  WriteID
	Ops []WriteOp
}

// WriteOp is one operation of a write.
//
//sumtype:decl
type WriteOp interface{ isWriteOp() }

// PutSpec stores an app's spec.
type PutSpec struct{ Spec Spec }

// RemoveApp deletes an app's spec and all its chunks.
type RemoveApp struct {
	App    shard.App
	Chunks int
}

// PutChunk stores a whole chunk: the rows of shards Chunk × ChunkShards and on.
type PutChunk struct {
	App   shard.App
	Chunk int
	Rows  []Row
}

// PutFence stores a fence and, where the key still shows that incarnation, deletes the key; the outcome is ServerChanged where the key is
// not as Registered (nil: absent) says.
type PutFence struct {
	Fence      Fence
	Registered *Registration
}

// PutRest stores a rest.
type PutRest struct{ Rest Rest }

// RemoveRest deletes a rest whose time is over.
type RemoveRest struct{ Server shard.ServerID }

// PutDrain stores or, with On false, deletes a drain.
type PutDrain struct {
	Server shard.ServerID
	On     bool
}

// PutMark stores or deletes a row about a server that flaps or a shard that kills.
type PutMark struct{ Row probation.Row }

// PutApproval stores or deletes the approval of a planned event.
type PutApproval struct{ Row maintenance.Row }

func (PutSpec) isWriteOp()     {}
func (RemoveApp) isWriteOp()   {}
func (PutChunk) isWriteOp()    {}
func (PutFence) isWriteOp()    {}
func (PutRest) isWriteOp()     {}
func (RemoveRest) isWriteOp()  {}
func (PutDrain) isWriteOp()    {}
func (PutMark) isWriteOp()     {}
func (PutApproval) isWriteOp() {}

// ReadRegistration asks for a consistent read of a server's key.
type ReadRegistration struct{ Server shard.ServerID }

// Message goes to the agent at the other end of a stream; a stream that is gone swallows it.
type Message struct {
	Stream StreamID
	Body   Body
}

// Body of a message.
//
//sumtype:decl
type Body interface{ isBody() }

// Welcome accepts a Hello.
type Welcome struct {
	Epoch    shard.Epoch
	Interval time.Duration
	Validity time.Duration
}

// Grant answers a Renew: the lease ends Remaining after the asker's clock at asking; 0 grants nothing, which is no fence.
type Grant struct {
	Sequence  uint64
	Remaining time.Duration
	ServeOn   bool // the server may serve on while nobody vouches (PROTOCOL R34)
}

// RestGranted answers a RestRequested; 0 refuses.
type RestGranted struct {
	Sequence  uint64
	Remaining time.Duration
}

// CommandID names a command.
type CommandID struct {
	Epoch       shard.Epoch
	Incarnation shard.Incarnation
	Shard       shard.ID
	Order       shard.Order
	Kind        Kind
}

// Kind of a command; the numbers are those of the wire.
type Kind uint8

// Kinds.
const (
	AddShard Kind = iota + 1
	DropShard
	PrepareAddShard
	PrepareDropShard
	CancelMove
	UpdateMembership
)

// Command asks for one step at one shard.
type Command struct {
	ID       CommandID
	Peer     shard.Peer     // PrepareAddShard: the source; PrepareDropShard: the target; AddShard of a secondary: the primary
	Role     shard.Role     // AddShard
	Members  []shard.Member // AddShard of a primary, PrepareAddShard, UpdateMembership: its secondaries
	Deadline time.Duration
}

// Probe asks the agent to try another server.
type Probe struct {
	ID      uint64
	Target  shard.Server
	Timeout time.Duration
}

// Fenced tells the agent that the incarnation is over; the shell closes the stream after it.
type Fenced struct {
	Incarnation shard.Incarnation
	Reason      string
}

// Refuse rejects a Hello; the shell closes the stream with the error.
type Refuse struct {
	Duplicate bool // the key is held by another incarnation (PROTOCOL R26)
	Retry     bool // could not be decided now; attach again
	Reason    string
}

// Close ends a stream without a word: a newer one of the same incarnation has taken over, or it fell silent.
type Close struct{ Reason string }

// DrainProgress tells a draining server what is left.
type DrainProgress struct{ Remaining int }

func (Welcome) isBody()       {}
func (Grant) isBody()         {}
func (RestGranted) isBody()   {}
func (Command) isBody()       {}
func (Probe) isBody()         {}
func (Fenced) isBody()        {}
func (Refuse) isBody()        {}
func (Close) isBody()         {}
func (DrainProgress) isBody() {}

// Publication is news for map watchers: a first whole map (after a load, or of a new app), a delta, or the end of an app.
type Publication struct {
	App      shard.App
	Snapshot *shard.Map   // set: replaces whatever was there
	Delta    *shard.Delta // set: the next version
	Removed  bool         // the app is gone
}

// Reply answers a Request.
type Reply struct {
	ID  uint64
	Err *RequestError // nil: done, durably
	// Spec as stored, for CreateApp and UpdateApp.
	Spec Spec
	// Remaining shards, for DrainServer; servers given up, for ReleaseHold.
	Remaining int
	// Note says what was done, for AbortMove and SkipStep; for people.
	Note string
}

// RequestError is a refused wish.
type RequestError struct {
	Kind     ErrorKind
	Subject  string // field or name that it is about
	Expected string // for people: what is wrong, and what would be right
}

func (e *RequestError) Error() string { return e.Subject + ": " + e.Expected }

// ErrorKind classes refused wishes.
type ErrorKind uint8

// Kinds of refusal.
const (
	Invalid ErrorKind = iota + 1
	NotFound
	AlreadyExists
	Conflict
	Unsupported
	NotNow // not led any more, or the store refuses; ask again
)

// Stop ends this ledger: the shell gives the lock up, with the clean mark only if Clean, and drops the ledger.
type Stop struct {
	Clean  bool
	Reason string
}

// Decision says what was decided and why: for logs, golden files and explain. Fields that do not apply are empty.
type Decision struct {
	What        string // constant, e.g. "fence", "move opened", "lease not granted"
	App         shard.App
	Shard       shard.ID
	Server      shard.ServerID
	Incarnation shard.Incarnation
	Order       shard.Order
	Why         string
}

var kindNames = [...]string{"unknown command", "AddShard", "DropShard", "PrepareAddShard", "PrepareDropShard", "CancelMove", "UpdateMembership"}

// String names the kind.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return kindNames[0]
	}
	return kindNames[k]
}
