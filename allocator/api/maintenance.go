package api

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/eventspec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// RequestMaintenance implements AdminServiceHandler.
func (a *Admin) RequestMaintenance(ctx context.Context, req *pb.RequestMaintenanceRequest) (*pb.RequestMaintenanceResponse, error) {
	if req.GetRequest() == nil {
		return nil, invalid(&wire.FieldError{Field: "request", Expected: "what is asked for"})
	}
	if _, err := a.ask(ctx, wish.RequestMaintenance{Request: eventspec.RequestFromProto(req.GetRequest())}); err != nil {
		return nil, err
	}
	return &pb.RequestMaintenanceResponse{}, nil
}

// ListMaintenance implements AdminServiceHandler.
func (a *Admin) ListMaintenance(ctx context.Context, req *pb.ListMaintenanceRequest) (*pb.ListMaintenanceResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	out := &pb.ListMaintenanceResponse{}
	for i := range view.Events {
		if req.GetId() == "" || req.GetId() == view.Events[i].ID {
			out.Events = append(out.Events, eventspec.ToProto(&view.Events[i]))
		}
	}
	if req.GetId() != "" && len(out.Events) == 0 {
		return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "id",
			fmt.Sprintf("expected the id of an event, not %q; list them with `shardmanager maintenance list`", req.GetId()), "")
	}
	return out, nil
}

// ApproveMaintenance implements AdminServiceHandler.
func (a *Admin) ApproveMaintenance(ctx context.Context, req *pb.ApproveMaintenanceRequest) (*pb.ApproveMaintenanceResponse, error) {
	if _, err := a.ask(ctx, wish.ApproveMaintenance{ID: req.GetId()}); err != nil {
		return nil, err
	}
	return &pb.ApproveMaintenanceResponse{}, nil
}

// FinishMaintenance implements AdminServiceHandler.
func (a *Admin) FinishMaintenance(ctx context.Context, req *pb.FinishMaintenanceRequest) (*pb.FinishMaintenanceResponse, error) {
	ids := make([]shard.ServerID, len(req.GetServers()))
	for i, id := range req.GetServers() {
		ids[i] = shard.ServerID(id)
	}
	if _, err := a.ask(ctx, wish.FinishMaintenance{ID: req.GetId(), Servers: ids}); err != nil {
		return nil, err
	}
	return &pb.FinishMaintenanceResponse{}, nil
}

// CancelMaintenance implements AdminServiceHandler.
func (a *Admin) CancelMaintenance(ctx context.Context, req *pb.CancelMaintenanceRequest) (*pb.CancelMaintenanceResponse, error) {
	if _, err := a.ask(ctx, wish.CancelMaintenance{ID: req.GetId()}); err != nil {
		return nil, err
	}
	return &pb.CancelMaintenanceResponse{}, nil
}

// CheckSafeToStop implements AdminServiceHandler.
func (a *Admin) CheckSafeToStop(ctx context.Context, req *pb.CheckSafeToStopRequest) (*pb.CheckSafeToStopResponse, error) {
	reply, err := a.ask(ctx, wish.CheckStop{Server: shard.ServerID(req.GetServer())})
	if err != nil {
		return nil, err
	}
	return &pb.CheckSafeToStopResponse{Safe: reply.Note == "", Detail: reply.Note}, nil
}
