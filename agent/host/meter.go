package host

import (
	"maps"
	"time"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// sample is what one source said at one moment.
type sample struct {
	at     time.Time
	gauges map[string]int64 // used now, per metric
	// counters grow, per metric and origin: a metric's rate is the sum over the origins that were there before, too. CPU time is in
	// nanoseconds, everything else in units of the metric.
	counters map[string]map[string]int64
	limits   map[string]int64
}

// meter makes smoothed resources of the samples of one source.
type meter struct {
	halfLife time.Duration
	last     sample
	used     map[string]int64 // smoothed
}

// take folds a sample in. Metrics that it lacks are forgotten: they begin anew when they come back.
func (m *meter) take(s sample) load.Resources {
	elapsed := s.at.Sub(m.last.at)
	first := m.last.at.IsZero()
	if !first && elapsed <= 0 {
		return m.resources()
	}
	used := map[string]int64{}
	smooth := func(metric string, value int64) {
		used[metric] = value
		if known, ok := m.used[metric]; ok {
			used[metric] = load.Smooth(known, value, elapsed, m.halfLife)
		}
	}
	for _, metric := range shard.SortedKeys(s.gauges) {
		smooth(metric, s.gauges[metric])
	}
	for _, metric := range shard.SortedKeys(s.counters) {
		if before, ok := m.last.counters[metric]; ok && !first {
			if rate, ok := rateOf(metric, before, s.counters[metric], elapsed); ok {
				smooth(metric, rate)
			}
		}
	}
	m.last, m.used = s, used
	return m.resources()
}

func (m *meter) resources() load.Resources {
	return load.Resources{Used: maps.Clone(m.used), Limit: maps.Clone(m.last.limits)}
}

// rateOf is what came of a metric in a second; false if no origin was there both times. A counter that went back began anew.
func rateOf(metric string, before, now map[string]int64, elapsed time.Duration) (int64, bool) {
	total, known := load.Vector{0}, false
	for _, origin := range shard.SortedKeys(now) {
		old, ok := before[origin]
		if !ok || now[origin] < old {
			continue
		}
		known = true
		total.Add(load.Vector{now[origin] - old})
	}
	scale := int64(time.Second)
	if metric == load.CPUMilli {
		scale = 1000 // nanoseconds of CPU time in nanoseconds
	}
	return load.MulDiv(total[0], scale, int64(elapsed)), known
}

// tighter is the smaller limit of each metric.
func tighter(a, b map[string]int64) map[string]int64 {
	out := maps.Clone(a)
	for metric, limit := range b {
		if other, ok := out[metric]; !ok || limit < other {
			if out == nil {
				out = map[string]int64{}
			}
			out[metric] = limit
		}
	}
	return out
}

// together are the resources of two sources with different metrics.
func together(a, b load.Resources) load.Resources {
	out := load.Resources{Used: maps.Clone(a.Used), Limit: tighter(a.Limit, b.Limit)}
	for metric, value := range b.Used {
		if out.Used == nil {
			out.Used = map[string]int64{}
		}
		out.Used[metric] = value
	}
	return out
}
