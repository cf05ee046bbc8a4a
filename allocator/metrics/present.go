package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/telemetry"
)

// Present is how an allocator stands. Of one that does not lead only Leads and Barred count.
type Present struct {
	Leads   bool
	Barred  bool // nobody may lead; everybody tells
	Summary report.Summary
	Servers []report.ServerStatus
	Open    []report.MoveStatus
	Apps    int
	Late    time.Duration
	Waiting int
}

// present is a collector of Present.
type present struct {
	look func() Present

	leader, barred, lockAge, apps, servers, draining, unserved, lacking, open, oldest, quarantined, hold, late, waiting *prometheus.Desc
}

func newPresent(look func() Present) *present {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return telemetry.Desc(subsystem, name, help, labels...)
	}
	return &present{
		look:        look,
		leader:      desc("leader", "1 at the leader, else 0. What follows in this group is told by the leader alone."),
		barred:      desc("barred", "1 while the store says that nobody may lead: a restore has not ended, or the store went back in time."),
		lockAge:     desc("lock_age_seconds", "Age of the last proof that the lock is this leader's; it grants nothing once that is leader_validity."),
		apps:        desc("apps", "Apps of the cluster."),
		servers:     desc("servers", "Incarnations of servers, by state: attached, awaited, suspect, degraded, fencing, resting or over.", "state"),
		draining:    desc("draining_servers", "Servers that are being drained."),
		unserved:    desc("unavailable_shards", "Shards without a primary that lives and acknowledged."),
		lacking:     desc("unavailable_replicas", "Shards with fewer replicas than wanted, as of the last plans."),
		open:        desc("open_moves", "Moves under way, placements, failovers and new secondaries included, by reason.", "reason"),
		oldest:      desc("oldest_move_seconds", "How long the oldest move under way has been in its present step; of new secondaries it is not known."),
		quarantined: desc("quarantined_shards", "Shards that are not placed any more, because servers died of them."),
		hold:        desc("hold", "1 while servers that were lost at once are held and not fenced."),
		late:        desc("loop_delay_seconds", "The most by which the leader's loop was late in the last 10 to 20 seconds."),
		waiting:     desc("loop_waiting_events", "Events that wait for the leader's loop."),
	}
}

// Describe implements prometheus.Collector.
func (p *present) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p *present) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) { telemetry.Gauge(ch, d, value, labels...) }
	now := p.look()
	gauge(p.leader, telemetry.Bool(now.Leads))
	gauge(p.barred, telemetry.Bool(now.Barred))
	if !now.Leads {
		return
	}
	s := &now.Summary
	gauge(p.lockAge, s.LockAge.Seconds())
	gauge(p.apps, float64(now.Apps))
	states, draining := map[report.ServerState]int{}, 0
	for _, v := range now.Servers {
		states[v.State]++
		if v.Draining {
			draining++
		}
	}
	for state := report.Attached; state <= report.Resting; state++ {
		gauge(p.servers, float64(states[state]), state.String())
	}
	gauge(p.draining, float64(draining))
	gauge(p.unserved, float64(s.Unplaced))
	gauge(p.lacking, float64(s.Lacking))
	open, oldest := map[string]int{}, 0.0
	for _, m := range now.Open {
		open[reasonName(m.Reason)]++
		oldest = max(oldest, m.StepAge.Seconds())
	}
	for _, reason := range reasons[1:] {
		gauge(p.open, float64(open[reason]), reason)
	}
	gauge(p.oldest, oldest)
	gauge(p.quarantined, float64(len(s.Quarantined)))
	gauge(p.hold, telemetry.Bool(s.Hold != ""))
	gauge(p.late, now.Late.Seconds())
	gauge(p.waiting, float64(now.Waiting))
}
