package appspec

import (
	"math"
	"time"

	"github.com/shardmanager/shardmanager/allocator/scaling"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func scalingFromProto(p *pb.ReplicaScaling) *scaling.Rule {
	if p == nil {
		return nil
	}
	return &scaling.Rule{Metric: p.GetMetric(), Target: p.GetTarget(), Min: number(p.GetMin()), Max: number(p.GetMax()), Tolerance: number(p.GetTolerancePercent()),
		Up: milliseconds(p.GetCooldownUpMs()), Down: milliseconds(p.GetCooldownDownMs())}
}

func scalingToProto(r *scaling.Rule) *pb.ReplicaScaling {
	if r == nil {
		return nil
	}
	return &pb.ReplicaScaling{Metric: r.Metric, Target: r.Target, Min: uint32(r.Min), Max: uint32(r.Max), TolerancePercent: uint32(r.Tolerance),
		CooldownUpMs: uint64(r.Up.Milliseconds()), CooldownDownMs: uint64(r.Down.Milliseconds())}
}

// milliseconds is a duration; one that is too long for it is longer than any that is allowed.
func milliseconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}
