package api

import (
	"github.com/shardmanager/shardmanager/allocator/ledger"
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
}

func serverToProto(s report.ServerStatus) *pb.ServerStatus {
	out := &pb.ServerStatus{
		Server: wire.ServerToProto(s.Server), State: pb.ServerState(s.State), Reason: s.Reason, Draining: s.Draining,
		Shards: count(s.Shards), Secondaries: count(s.Secondaries), Moves: count(s.Moves), LastRenewalMs: -1,
	}
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
		out = append(out, &pb.MoveStatus{
			App: string(m.App), Shard: string(m.Shard), Move: uint64(m.Order.Move), Term: uint64(m.Order.Term),
			From: string(m.From), To: string(m.To), Reason: pb.MoveReason(m.Reason), Step: pb.MoveStep(m.Step),
			AgeMs: m.Age.Milliseconds(), Attempts: count(m.Attempts), Detail: m.Detail,
		})
	}
	return out
}
