package wire

import (
	"fmt"
	"math"
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// CoordinateToProto converts a coordinate.
func CoordinateToProto(c latency.Coordinate) *pb.NetworkCoordinate {
	out := &pb.NetworkCoordinate{
		VectorNs: make([]int64, len(c.Vector)), HeightNs: int64(c.Height), AdjustmentNs: int64(c.Adjustment), ErrorPermille: uint32(max(c.Error, 0)),
	}
	for i, part := range c.Vector {
		out.VectorNs[i] = int64(part)
	}
	return out
}

// CoordinateFromProto converts a coordinate, and checks it.
func CoordinateFromProto(p *pb.NetworkCoordinate) (latency.Coordinate, error) {
	if p.GetErrorPermille() > latency.Unknown {
		return latency.Coordinate{}, &FieldError{Field: "coordinate.error_permille", Expected: fmt.Sprintf("at most %d, not %d", latency.Unknown, p.GetErrorPermille())}
	}
	c := latency.Coordinate{
		Vector: make([]time.Duration, len(p.GetVectorNs())), Height: time.Duration(p.GetHeightNs()), Adjustment: time.Duration(p.GetAdjustmentNs()),
		Error: int(p.GetErrorPermille()),
	}
	for i, part := range p.GetVectorNs() {
		c.Vector[i] = time.Duration(part)
	}
	if err := c.Check(); err != nil {
		return latency.Coordinate{}, &FieldError{Field: "coordinate", Expected: err.Error()}
	}
	return c, nil
}

// LatenciesToProto converts a matrix.
func LatenciesToProto(m latency.Matrix) []*pb.RegionLatency {
	var out []*pb.RegionLatency
	for _, p := range m.Pairs() {
		out = append(out, &pb.RegionLatency{
			From: p.From, To: p.To, MedianNs: int64(p.Median), ErrorPermille: uint32(max(p.Error, 0)), AgeMs: p.Age.Milliseconds(), Pairs: uint32(max(p.Pairs, 0)),
			Configured: p.Configured,
		})
	}
	return out
}

// maxAgeMs is the most milliseconds that a Duration holds.
const maxAgeMs = math.MaxInt64 / int64(time.Millisecond)

// LatenciesFromProto converts a matrix. It is a hint: what makes no sense in it is left out.
func LatenciesFromProto(list []*pb.RegionLatency) latency.Matrix {
	pairs := make([]latency.Pair, 0, len(list))
	for _, p := range list {
		pairs = append(pairs, latency.Pair{From: p.GetFrom(), To: p.GetTo(), Estimate: latency.Estimate{
			Median: time.Duration(p.GetMedianNs()), Error: int(p.GetErrorPermille()), Age: time.Duration(min(max(p.GetAgeMs(), 0), maxAgeMs)) * time.Millisecond, Pairs: int(p.GetPairs()),
			Configured: p.GetConfigured(),
		}})
	}
	return latency.Of(pairs)
}
