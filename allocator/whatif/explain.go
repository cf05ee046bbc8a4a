package whatif

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/explain"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Explain adds to what is known of a shard why placement has it where it is, and what it would do, with the candidates of one of its replicas; no
// server: of the one that is decided next. False: that has no replica of the shard; then only places are added.
func Explain(in placement.Input, at shard.Index, replica shard.ServerID, out *pb.ExplainResponse) bool {
	e, ok := explain.Shard(in, at)
	if !ok {
		return true
	}
	out.Notes = e.Notes
	for _, d := range e.Decisions {
		out.Proposals = append(out.Proposals, &pb.Proposal{
			From: string(d.From), To: string(d.To), Reason: pb.MoveReason(d.Reason), Why: d.Why, Binds: d.Binds, Kind: pb.MoveKind(d.Kind), Wave: count(d.Wave), Costs: costsToProto(d.Costs),
		})
	}
	asked := 0
	for _, p := range e.Places {
		out.Places = append(out.Places, &pb.ReplicaPlace{Server: string(p.Server), Role: pb.Role(p.Role), Verdict: p.Verdict, BetterElsewhere: p.Better})
	}
	if replica != "" {
		if asked = slices.IndexFunc(e.Places, func(p explain.Place) bool { return p.Server == replica }); asked < 0 {
			return false
		}
	}
	if len(e.Places) == 0 {
		return true
	}
	out.CandidatesOf = string(e.Places[asked].Server)
	for _, c := range e.Places[asked].Candidates {
		out.Candidates = append(out.Candidates, &pb.Candidate{
			Server: string(c.Server), Holds: pb.Role(c.Holds), Here: c.Here, Rank: count(c.Rank), UtilisationPercent: c.Utilisation, Binds: c.Binds, Why: c.Why,
			Costs: costsToProto(c.Costs),
		})
	}
	return true
}

func costsToProto(costs []tally.Cost) (list []*pb.GoalCost) {
	for _, c := range costs {
		list = append(list, &pb.GoalCost{Tier: count(c.Tier), Goal: c.Goal, Amount: c.Amount, Unit: string(c.Unit), Text: c.Unit.Text(c.Amount)})
	}
	return list
}
