package api

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// View is what the ledger knew at one moment, for operators. It never changes once made.
type View struct {
	Summary report.Summary
	Specs   []ledger.Spec // by name
	Servers []report.ServerStatus
	Moves   report.Moves
	Events  []event.Event // planned
	Loop    LoopState
}

// LoopState is how the leader's loop keeps up.
type LoopState struct {
	Late    time.Duration // the most that it was late in the last 10 to 20 s
	Waiting int           // letters in its mailbox
}

// Explained is what the ledger knows of one shard, and the app as placement would see it.
type Explained struct {
	Shard   report.ShardStatus
	Input   placement.Input
	Refusal *ledger.RequestError // not nil: there is no such shard
}

func serverToProto(s report.ServerStatus) *pb.ServerStatus {
	out := &pb.ServerStatus{
		Server: wire.ServerToProto(s.Server), State: pb.ServerState(s.State), Reason: s.Reason, Draining: s.Draining,
		Shards: count(s.Shards), Secondaries: count(s.Secondaries), Moves: count(s.Moves), LastRenewalMs: -1,
	}
	out.ProbationMs, out.ProbationReason = s.Probation.Milliseconds(), s.ProbationReason
	if s.LastRenewal >= 0 {
		out.LastRenewalMs = s.LastRenewal.Milliseconds()
	}
	return out
}

// movesToProto converts the moves of an app; of all apps if it is empty.
func movesToProto(moves []report.MoveStatus, app string) []*pb.MoveStatus {
	var out []*pb.MoveStatus
	for _, m := range moves {
		if app != "" && string(m.App) != app {
			continue
		}
		out = append(out, moveToProto(m))
	}
	return out
}

func moveToProto(m report.MoveStatus) *pb.MoveStatus {
	out := &pb.MoveStatus{
		App: string(m.App), Shard: string(m.Shard), Move: uint64(m.Order.Move), Term: uint64(m.Order.Term),
		From: string(m.From), To: string(m.To), Reason: pb.MoveReason(m.Reason), Step: pb.MoveStep(m.Step),
		AgeMs: m.Age.Milliseconds(), Attempts: count(m.Attempts), Detail: m.Detail, StepAgeMs: m.StepAge.Milliseconds(), DeadlineMs: -1,
		ProgressBytes: m.Received, TotalBytes: m.Total,
	}
	if m.Deadline >= 0 && m.Step < report.StepDone {
		out.DeadlineMs = m.Deadline.Milliseconds()
	}
	return out
}
