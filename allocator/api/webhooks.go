package api

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/suggest"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// ListWebhooks implements AdminServiceHandler.
func (a *Admin) ListWebhooks(context.Context, *pb.ListWebhooksRequest) (*pb.ListWebhooksResponse, error) {
	if a.node.Leader() == nil {
		return nil, a.notLeader()
	}
	return &pb.ListWebhooksResponse{Webhooks: a.webhooks.List()}, nil
}

// ListDeadLetters implements AdminServiceHandler.
func (a *Admin) ListDeadLetters(_ context.Context, req *pb.ListDeadLettersRequest) (*pb.ListDeadLettersResponse, error) {
	if a.node.Leader() == nil {
		return nil, a.notLeader()
	}
	letters, ok := a.webhooks.Dead(req.GetName())
	return letters, a.noSuchWebhook(ok, req.GetName())
}

// ReplayDeadLetters implements AdminServiceHandler.
func (a *Admin) ReplayDeadLetters(_ context.Context, req *pb.ReplayDeadLettersRequest) (*pb.ReplayDeadLettersResponse, error) {
	if a.node.Leader() == nil {
		return nil, a.notLeader()
	}
	n, ok := a.webhooks.Replay(req.GetName())
	return &pb.ReplayDeadLettersResponse{Letters: count(n)}, a.noSuchWebhook(ok, req.GetName())
}

// TestWebhook implements AdminServiceHandler.
func (a *Admin) TestWebhook(ctx context.Context, req *pb.TestWebhookRequest) (*pb.TestWebhookResponse, error) {
	if a.node.Leader() == nil {
		return nil, a.notLeader()
	}
	outcome, ok := a.webhooks.Test(ctx, req.GetName())
	return outcome, a.noSuchWebhook(ok, req.GetName())
}

// noSuchWebhook refuses a name, unless there is such a target.
func (a *Admin) noSuchWebhook(ok bool, name string) error {
	if ok {
		return nil
	}
	return wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "name",
		fmt.Sprintf("expected a target of the allocator's setting webhooks, not %q%s", name, suggest.Or(name, a.webhooks.Names())), "")
}
