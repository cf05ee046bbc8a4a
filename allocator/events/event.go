// Package events remembers what the leading allocator decided and saw, as a bounded log that any number of readers follow at their own
// pace.
//
// Invariants: the log belongs to one leadership at a time, whose events are numbered from 1 without holes; it keeps the newest KeptMost of
// them and forgets older ones. Writing never waits for a reader: one that falls behind is told how much it missed, and goes on. A position
// of another leadership is answered with everything that is kept and a gap before it.
//
// Called by the allocator's loop, which writes, and by allocator/api, which reads for operators. It never decides anything.
package events

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Position orders events: by epoch, then sequence. The zero Position is before everything.
type Position struct {
	Epoch    shard.Epoch
	Sequence uint64
}

// Event is one entry of the log.
type Event struct {
	Position Position
	At       time.Time // wall time, for people
	Body     Body
}

// Body is what an event is about.
//
//sumtype:decl
type Body interface{ isBody() }

// Decided is a decision of the ledger.
type Decided struct{ Decision ledger.Decision }

// ServerChanged is a new state of a server's incarnation.
type ServerChanged struct{ Status report.ServerStatus }

// LeaderChanged is the begin or the end of the leadership.
type LeaderChanged struct {
	Allocator string
	Leads     bool
	Why       string
}

// Ended is the end of a leadership: in order, for a reason, or by an error.
func Ended(allocator, reason string, err error) LeaderChanged {
	if err != nil {
		reason = err.Error()
	}
	return LeaderChanged{Allocator: allocator, Why: reason}
}

// Gap stands for events that cannot be had any more. The log makes it for a reader; it is never written.
type Gap struct {
	Missed uint64 // 0: unknown
	Why    string
}

func (Decided) isBody()       {}
func (ServerChanged) isBody() {}
func (LeaderChanged) isBody() {}
func (Gap) isBody()           {}

// App is the app that an event is about; empty: the cluster as a whole.
func (e Event) App() shard.App {
	switch b := e.Body.(type) {
	case Decided:
		return b.Decision.App
	case ServerChanged:
		return b.Status.Server.App
	case LeaderChanged, Gap:
	}
	return ""
}
