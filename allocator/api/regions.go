package api

import (
	"context"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Places keeps where agents are, and knows how far regions are from each other.
type Places interface {
	Report(agent, region string, at latency.Coordinate)
	Matrix() latency.Matrix
	// Located counts the agents by region that reported lately.
	Located() map[string]int
}

// locator reports what a server's renewals say of where its agent is. It is a hint, so one that makes no sense is no reason to refuse a renewal.
func (a *Attach) locator(s shard.Server) func(*pb.AttachRequest) {
	return func(m *pb.AttachRequest) {
		p := m.GetRenew().GetCoordinate()
		if p == nil {
			return
		}
		if c, err := wire.CoordinateFromProto(p); err == nil {
			a.places.Report(s.Agent, s.Locality.Region, c)
		}
	}
}

// ListRegions implements AdminServiceHandler.
func (a *Admin) ListRegions(ctx context.Context, _ *pb.ListRegionsRequest) (*pb.ListRegionsResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	located, servers := a.places.Located(), map[string]int{}
	for _, s := range view.Servers {
		servers[s.Server.Locality.Region]++
	}
	matrix := a.places.Matrix()
	for region := range located {
		servers[region] += 0
	}
	for _, region := range matrix.Regions() { // one that is only configured, by a wrong name perhaps, is seen to have nobody
		servers[region] += 0
	}
	out := &pb.ListRegionsResponse{Latencies: wire.LatenciesToProto(matrix)}
	for _, name := range shard.SortedKeys(servers) {
		out.Regions = append(out.Regions, &pb.Region{Name: name, Servers: count(servers[name]), LocatedAgents: count(located[name])})
	}
	return out, nil
}
