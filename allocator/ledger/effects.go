package ledger

import (
	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/allocator/report"
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
	Finished []report.MoveStatus // moves that ended, for whoever counts them
	Stop     *Stop
}

// Reset empties the effects and keeps their memory.
func (e *Effects) Reset() {
	*e = Effects{
		Writes: e.Writes[:0], Messages: e.Messages[:0], Publish: e.Publish[:0], Solve: e.Solve[:0], Reads: e.Reads[:0],
		Sessions: e.Sessions[:0], Replies: e.Replies[:0], Trace: e.Trace[:0], Finished: e.Finished[:0],
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

// PutEvent stores or deletes a planned event.
type PutEvent struct{ Row maintenance.Row }

// PutHeard stores that this leader heard of what only a later one can have said, of a generation up to this one: nobody leads any more (PROTOCOL R14).
type PutHeard struct {
	Generation uint64
	Why        string
}

func (PutHeard) isWriteOp()   {}
func (PutSpec) isWriteOp()    {}
func (RemoveApp) isWriteOp()  {}
func (PutChunk) isWriteOp()   {}
func (PutFence) isWriteOp()   {}
func (PutRest) isWriteOp()    {}
func (RemoveRest) isWriteOp() {}
func (PutDrain) isWriteOp()   {}
func (PutMark) isWriteOp()    {}
func (PutEvent) isWriteOp()   {}

// ReadRegistration asks for a consistent read of a server's key.
type ReadRegistration struct{ Server shard.ServerID }

// Message goes to the agent at the other end of a stream; a stream that is gone swallows it.
type Message struct {
	Stream StreamID
	Body   message.Body
}

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
