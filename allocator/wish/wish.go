// Package wish is what operators can ask of the leader, in the ledger's own terms. Values only.
//
// Made by allocator/api from what arrives; allocator/ledger checks them, carries them out and answers.
package wish

import (
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Wish is what an operator can ask of the leader.
//
//sumtype:decl
type Wish interface{ isWish() }

// CreateApp adds an app; its ResourceVersion must be 0.
type CreateApp struct{ Spec spec.App }

// UpdateApp replaces a spec at its ResourceVersion.
type UpdateApp struct{ Spec spec.App }

// DeleteApp removes an app at a resource version.
type DeleteApp struct {
	Name            shard.App
	ResourceVersion uint64
}

// CreateShards adds shards to an app with a named key space: all of them or none.
type CreateShards struct {
	App shard.App
	IDs []shard.ID
}

// DeleteShards removes shards of an app with a named key space: all of them or none.
type DeleteShards struct {
	App shard.App
	IDs []shard.ID
}

// DrainServer drains a server until undone.
type DrainServer struct {
	Server shard.ServerID
	Undo   bool
}

// AbortMove aborts a shard's open move, before row 4 only (PROTOCOL R10). It is answered once the decision is durable.
type AbortMove struct {
	App   shard.App
	Shard shard.ID
	Move  shard.MoveID // that the operator means; 0: whichever is open
	Why   string       // for the trace
}

// SkipStep ends a step that is stuck, in a way that is safe (see Ledger.steer). It is answered once the decision is durable.
type SkipStep struct {
	App   shard.App
	Shard shard.ID
	Move  shard.MoveID    // that the operator means; 0: whichever is open
	Step  report.MoveStep // likewise
	Force bool            // fence whoever is waited for, and with it all that it holds
	Why   string          // for the trace
}

// ReleaseHold lets the servers that are held now be judged, fenced and replaced (promise 9).
type ReleaseHold struct{}

// ReleaseQuarantine lets a shard be placed again.
type ReleaseQuarantine struct {
	App   shard.App
	Shard shard.ID
}

// RequestMaintenance asks for a planned event (PROTOCOL R29).
type RequestMaintenance struct{ event.Request }

// ApproveMaintenance lets one go ahead before its start and outside windows.
type ApproveMaintenance struct{ ID string }

// FinishMaintenance says that pieces of one are over: those of some servers, or all that were approved.
type FinishMaintenance struct {
	ID      string
	Servers []shard.ServerID
}

// CheckStop asks whether a server may be stopped now without harm; the answer is a note that says why not.
type CheckStop struct{ Server shard.ServerID }

// CancelMaintenance takes back what of one is not over.
type CancelMaintenance struct{ ID string }

func (CreateApp) isWish()          {}
func (UpdateApp) isWish()          {}
func (DeleteApp) isWish()          {}
func (DrainServer) isWish()        {}
func (AbortMove) isWish()          {}
func (SkipStep) isWish()           {}
func (ReleaseHold) isWish()        {}
func (ReleaseQuarantine) isWish()  {}
func (CreateShards) isWish()       {}
func (DeleteShards) isWish()       {}
func (ApproveMaintenance) isWish() {}
func (RequestMaintenance) isWish() {}
func (FinishMaintenance) isWish()  {}
func (CancelMaintenance) isWish()  {}
func (CheckStop) isWish()          {}
