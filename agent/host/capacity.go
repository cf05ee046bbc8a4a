package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/agent/host/cgroup"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// All stands for every metric whose capacity can be measured.
const All = "all"

// measurable are the metrics whose capacity can be measured. What a network carries cannot be read off a machine.
func measurable() []string { return []string{load.CPUMilli, load.MemoryBytes, load.DiskBytes} }

// Measurable reports whether the capacity of a metric can be measured, or says what can.
func Measurable(metric string) (expected string, ok bool) {
	return strings.Join(measurable(), ", ") + " or " + All, metric == All || slices.Contains(measurable(), metric)
}

// complete is what a server has of each metric: as stated, and as measured where nothing is stated and the metric is wanted. Missing are wanted
// ones that are neither.
func complete(stated map[string]int64, wanted []string, limits map[string]int64) (capacity map[string]int64, missing []string) {
	if slices.Contains(wanted, All) {
		wanted = measurable()
	}
	capacity = maps.Clone(stated)
	for _, metric := range wanted {
		if _, ok := capacity[metric]; ok {
			continue
		}
		limit, ok := limits[metric]
		if !ok {
			missing = append(missing, metric)
			continue
		}
		if capacity == nil {
			capacity = map[string]int64{}
		}
		capacity[metric] = limit
	}
	return capacity, missing
}

// Limits is how much there is for a process: of the host, or of its control group where that is less. It waits for the host to be measured
// once. A metric that could not be read is not there, and the error says why; the group's being unreadable leaves out what it may limit.
func (s *Sampler) Limits(ctx context.Context, pid int64) (map[string]int64, error) {
	for _, l := range s.lanes {
		select {
		case <-l.first:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: not measured yet: %w", l.name, ctx.Err())
		}
	}
	usage, _ := s.Usage("")
	g := group(cgroup.NewReader(s.root), pid)
	limits := tighter(usage.Host.Limit, g.limits)
	var failed []error
	for _, metric := range shard.SortedKeys(g.failed) {
		delete(limits, metric)
		failed = append(failed, fmt.Errorf("cgroup of process %d: %s: %w", pid, metric, g.failed[metric]))
	}
	return limits, errors.Join(failed...)
}

// Capacity is what a process has of each metric: as stated, and of the wanted ones that are not, as measured. A metric that cannot be measured
// is left out, and the error says why and what to do.
func (s *Sampler) Capacity(ctx context.Context, stated map[string]int64, wanted []string, pid int64) (map[string]int64, error) {
	if len(wanted) == 0 {
		return stated, nil
	}
	limits, failed := s.Limits(ctx, pid)
	capacity, missing := complete(stated, wanted, limits)
	if len(missing) == 0 {
		return capacity, nil
	}
	if failed == nil {
		failed = errors.New("not measured")
	}
	return capacity, fmt.Errorf("%s: no limit, because they cannot be measured: %w: state them by capacity", strings.Join(missing, ", "), failed)
}
