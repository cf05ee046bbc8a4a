package spec

import (
	"fmt"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Needs is what the app must have servers for.
func (a App) Needs() caps.Needs {
	return caps.Needs{Replicas: a.LeastReplicas(), Regions: a.RegionReplicas, Spread: a.Spread}
}

// LeastReplicas is how few replicas each shard may have at least.
func (a App) LeastReplicas() int {
	if a.Scaling != nil {
		return a.Scaling.Min
	}
	return a.replicas()
}

// checkScaling refuses bounds that would take away what the rest of the spec needs, and loads that are none.
func (a App) checkScaling() (field, expected string) {
	const path = "replica_scaling"
	r := a.Scaling
	switch {
	case r == nil:
		return "", ""
	case !a.Replication.Secondaries():
		return path, "nothing: it needs secondaries, and this app has one replica of each shard; make it with replication primary-secondary or secondary-only"
	}
	unavailable := 1
	if n := a.Maintenance.Unavailable; n != nil {
		unavailable = max(1, *n)
	}
	b := scaling.Bounds{Least: unavailable + 1, Most: replicasMost,
		Because: fmt.Sprintf("planned events may take %d of them at once (maintenance.max_unavailable_replicas)", unavailable)}
	sum := 0
	for _, n := range a.RegionReplicas {
		sum += n
	}
	if sum > b.Least {
		b.Least, b.Because = sum, "region_replicas asks for so many"
	}
	if field, expected := r.Check(b, placement.MetricShards, placement.MetricPrimaries); field != "" {
		return path + "." + field, expected
	}
	if _, known := a.DefaultLoad[r.Metric]; !known && len(a.DefaultLoad) > 0 {
		return path + ".metric", fmt.Sprintf("a metric that placement.default_load names (%v), not %q; add it there if it is one", shard.SortedKeys(a.DefaultLoad), r.Metric)
	}
	if a.Replicas != 0 && (a.Replicas < r.Min || a.Replicas > r.Max) {
		return "replicas", fmt.Sprintf("replica_scaling.min to max (%d to %d), because a shard begins with so many, not %d; or leave it out", r.Min, r.Max, a.Replicas)
	}
	return "", ""
}
