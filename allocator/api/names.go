package api

import (
	"context"

	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// CreateShards implements AdminServiceHandler.
func (a *Admin) CreateShards(ctx context.Context, req *pb.CreateShardsRequest) (*pb.CreateShardsResponse, error) {
	if _, err := a.ask(ctx, wish.CreateShards{App: shard.App(req.GetApp()), IDs: idsOf(req.GetShards())}); err != nil {
		return nil, err
	}
	return &pb.CreateShardsResponse{}, nil
}

// DeleteShards implements AdminServiceHandler.
func (a *Admin) DeleteShards(ctx context.Context, req *pb.DeleteShardsRequest) (*pb.DeleteShardsResponse, error) {
	if _, err := a.ask(ctx, wish.DeleteShards{App: shard.App(req.GetApp()), IDs: idsOf(req.GetShards())}); err != nil {
		return nil, err
	}
	return &pb.DeleteShardsResponse{}, nil
}

func idsOf(list []string) []shard.ID {
	ids := make([]shard.ID, len(list))
	for i, id := range list {
		ids[i] = shard.ID(id)
	}
	return ids
}
