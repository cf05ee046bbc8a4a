package wire

import (
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits on what is taken from a message, so that no agent fills a leader's memory; what is beyond them is left out.
const (
	maxUsageMetrics = 32 // of each kind, the first by name
	maxMetricName   = 64
)

// UsageToProto converts usage; none at all becomes nil.
func UsageToProto(u load.Usage) *pb.HostUsage {
	host, cgroup := resourcesToProto(u.Host), resourcesToProto(u.Cgroup)
	if host == nil && cgroup == nil {
		return nil
	}
	return &pb.HostUsage{Host: host, Cgroup: cgroup}
}

func resourcesToProto(r load.Resources) *pb.Resources {
	if len(r.Used) == 0 && len(r.Limit) == 0 {
		return nil
	}
	return &pb.Resources{Used: cloned(r.Used), Limit: cloned(r.Limit)}
}

// UsageFromProto converts usage. It informs and decides nothing, so numbers that make no sense are left out.
func UsageFromProto(u *pb.HostUsage) load.Usage {
	return load.Usage{Host: resourcesFromProto(u.GetHost()), Cgroup: resourcesFromProto(u.GetCgroup())}
}

func resourcesFromProto(r *pb.Resources) load.Resources {
	return load.Resources{Used: measured(r.GetUsed()), Limit: measured(r.GetLimit())}
}

func measured(values map[string]int64) map[string]int64 {
	var out map[string]int64
	for _, metric := range shard.SortedKeys(values) {
		if len(out) == maxUsageMetrics {
			break
		}
		if values[metric] < 0 || metric == "" || len(metric) > maxMetricName {
			continue
		}
		if out == nil {
			out = map[string]int64{}
		}
		out[metric] = values[metric]
	}
	return out
}
