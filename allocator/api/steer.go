package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// maxReason is how many bytes an operator's reason may have: it is logged, remembered and shown.
	maxReason = 200
	// maxDecisions is how many decisions about a shard are told.
	maxDecisions = 20
)

// AbortMove implements AdminServiceHandler.
func (a *Admin) AbortMove(ctx context.Context, req *pb.AbortMoveRequest) (*pb.AbortMoveResponse, error) {
	if err := checkReason(req.GetReason()); err != nil {
		return nil, err
	}
	reply, err := a.ask(ctx, wish.AbortMove{
		App: shard.App(req.GetApp()), Shard: shard.ID(req.GetShard()), Move: shard.MoveID(req.GetMove()), Why: req.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return &pb.AbortMoveResponse{Outcome: reply.Note}, nil
}

// SkipStep implements AdminServiceHandler.
func (a *Admin) SkipStep(ctx context.Context, req *pb.SkipStepRequest) (*pb.SkipStepResponse, error) {
	if err := checkReason(req.GetReason()); err != nil {
		return nil, err
	}
	if step := req.GetStep(); step < 0 || step > pb.MoveStep_MOVE_STEP_ABORTED {
		return nil, invalid(&wire.FieldError{Field: "step", Expected: fmt.Sprintf("a step of a move, not %d", step)})
	}
	reply, err := a.ask(ctx, wish.SkipStep{
		App: shard.App(req.GetApp()), Shard: shard.ID(req.GetShard()), Move: shard.MoveID(req.GetMove()), Step: report.MoveStep(req.GetStep()),
		Force: req.GetForce(), Why: req.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return &pb.SkipStepResponse{Outcome: reply.Note}, nil
}

func checkReason(reason string) error {
	if len(reason) > maxReason {
		return invalid(&wire.FieldError{Field: "reason", Expected: fmt.Sprintf("at most %d bytes, not %d", maxReason, len(reason))})
	}
	return nil
}

// Explain implements AdminServiceHandler.
func (a *Admin) Explain(ctx context.Context, req *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	leader := a.node.Leader()
	if leader == nil {
		return nil, a.notLeader()
	}
	select {
	case a.explaining <- struct{}{}:
		defer func() { <-a.explaining }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	app, id := shard.App(req.GetApp()), shard.ID(req.GetShard())
	known, err := leader.Explain(ctx, app, id)
	if err != nil {
		return nil, a.lost(err)
	}
	if known.Refusal != nil {
		return nil, answerTo(known.Refusal)
	}
	view, err := leader.View(ctx)
	if err != nil {
		return nil, a.lost(err)
	}
	known.Input.Apart = a.places.Matrix()
	notes := a.policies.Resolve(ctx, &known.Input, resolve.Published{Maps: a.maps})
	out := explanationToProto(known)
	out.Notes = append(notes[:len(notes):len(notes)], out.Notes...)
	for _, e := range a.events.Of(app, id, maxDecisions) {
		out.Decisions = append(out.Decisions, eventToProto(e))
	}
	for _, m := range view.Moves.Finished {
		if m.App == app && m.Shard == id {
			out.Finished = append(out.Finished, moveToProto(m))
		}
	}
	return out, nil
}

// lost is the error of a call that the loop did not answer.
func (a *Admin) lost(err error) error {
	if errors.Is(err, ErrNotLeading) {
		return a.notLeader()
	}
	return err
}

func explanationToProto(known *Explained) *pb.ExplainResponse {
	s := known.Shard
	out := &pb.ExplainResponse{
		App: string(s.App), Shard: string(s.Shard), Term: uint64(s.Term), Move: uint64(s.Move),
		Primary: string(s.Primary), Incarnation: uint64(s.Incarnation), PrimaryTerm: uint64(s.PrimaryTerm),
		Serving: s.Serving, Pending: s.Pending, Unplaced: s.Unplaced, Phase: pb.MovePhase(s.Phase),
	}
	if s.Primary != "" {
		out.Owner = serverToProto(s.Owner)
	}
	for _, r := range s.Replicas {
		out.Replicas = append(out.Replicas, &pb.ReplicaStatus{
			Server: string(r.Server), Incarnation: uint64(r.Incarnation), Role: pb.Role(r.Role), Progress: pb.SecondaryProgress(r.Progress), Down: r.Down,
		})
	}
	out.ReplicasMissing, out.ReplicasWhy = count(s.Missing), s.Scaled
	if s.Moving {
		out.Open = moveToProto(s.Open)
	}
	targets := 0
	for _, server := range known.Input.Servers {
		if server.Accepts {
			targets++
		}
	}
	out.WaitsFor = s.WaitsFor(targets)
	if e, ok := placement.Explain(known.Input, s.Index); ok {
		out.Notes = e.Notes
		for _, d := range e.Decisions {
			out.Proposals = append(out.Proposals, &pb.Proposal{
				From: string(d.From), To: string(d.To), Reason: pb.MoveReason(d.Reason), Why: d.Why, Binds: d.Binds,
				Kind: pb.MoveKind(d.Kind),
			})
		}
		for _, c := range e.Candidates {
			out.Candidates = append(out.Candidates, &pb.Candidate{
				Server: string(c.Server), Holds: pb.Role(c.Holds), Rank: count(c.Rank), UtilisationPercent: c.Utilisation, Binds: c.Binds, Why: c.Why,
			})
		}
	}
	return out
}

func positionToProto(p events.Position) *pb.EventPosition {
	return &pb.EventPosition{Epoch: wire.EpochToProto(p.Epoch), Sequence: p.Sequence}
}
