package api

import (
	"context"
	"math"

	"github.com/shardmanager/shardmanager/allocator/capacity"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// AdviseCapacity implements AdminServiceHandler.
func (a *Admin) AdviseCapacity(ctx context.Context, req *pb.AdviseCapacityRequest) (*pb.AdviseCapacityResponse, error) {
	aim := capacity.Aim{Utilisation: int(min(req.GetUtilisationPercent(), math.MaxInt32)), Tolerance: int(min(req.GetTolerancePercent(), math.MaxInt32))}
	if field, expected := aim.Check(); field != "" {
		return nil, invalid(&wire.FieldError{Field: field, Expected: expected})
	}
	known, spec, err := a.whole(ctx, shard.App(req.GetApp()))
	if err != nil {
		return nil, err
	}
	advice := capacity.Advise(known.Input, spec.Maintenance, aim)
	out := &pb.AdviseCapacityResponse{App: req.GetApp(), Servers: count(advice.Servers), Wanted: count(advice.Wanted), Least: count(advice.Least), Most: count(advice.Most),
		Why: advice.Why, Hold: advice.Hold}
	for _, r := range advice.Regions {
		out.Regions = append(out.Regions, &pb.RegionCapacity{Region: r.Name, Servers: count(r.Servers), Least: count(r.Least)})
	}
	for _, m := range advice.Metrics {
		out.Metrics = append(out.Metrics, &pb.MetricCapacity{Metric: m.Name, Load: m.Load, Server: m.Server, UtilisationPercent: count(m.Percent), Servers: count(m.Servers)})
	}
	return out, nil
}
