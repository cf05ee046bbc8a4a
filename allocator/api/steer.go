package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// maxReason is how many bytes an operator's reason may have: it is logged, remembered and shown.
const maxReason = 200

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

// lost is the error of a call that the loop did not answer.
func (a *Admin) lost(err error) error {
	if errors.Is(err, ErrNotLeading) {
		return a.notLeader()
	}
	return err
}
