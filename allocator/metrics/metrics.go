// Package metrics is what an allocator counts and times, for Prometheus.
//
// Called by the allocator's shell with what the ledger said; what it shows of the present it asks for when it is collected. Labels have few
// values: apps, and names that the program knows.
package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/telemetry"
)

const subsystem = "allocator"

// Metrics is safe for concurrent use. A nil one counts nothing.
type Metrics struct {
	leaderships prometheus.Counter
	decisions   *prometheus.CounterVec
	moves       *prometheus.CounterVec
	repeated    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	failovers   prometheus.Histogram
	retries     *prometheus.CounterVec
	solves      *prometheus.HistogramVec
	proposed    *prometheus.CounterVec
	writes      *prometheus.HistogramVec
	goals       *goals
	recent      recent
}

// seconds are buckets from a hundredth of a second to ten minutes.
var seconds = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

// New makes metrics, and shows what look sees of the present each time they are collected.
func New(r prometheus.Registerer, look func() Present) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: seconds}, labels)
	}
	m := &Metrics{
		goals:       newGoals(),
		leaderships: prometheus.NewCounter(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "leaderships_total", Help: "How often this allocator began to lead."}),
		decisions:   counter("decisions_total", "What the leader decided and saw, by the decision's name, as `shardmanager events` shows it.", "decision"),
		moves:       counter("moves_total", "Moves that ended, placements, failovers and new secondaries included, by app, reason and result: done or aborted.", "app", "reason", "result"),
		repeated:    counter("repeated_moves_total", "Moves for drain, balance, preference or spread of shards that had been moved for one of these in the last 10 to 20 minutes, by app: thrash.", "app"),
		durations: histogram("move_duration_seconds", "How long moves took from their opening to their end, by reason and result; of new secondaries it is not known.",
			"reason", "result"),
		failovers: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "failover_unserved_seconds",
			Help: "How long nobody may have served a shard whose primary was lost: from when that was heard of last until its successor acknowledged.", Buckets: seconds}),
		retries:  counter("callback_failures_total", "Failures of callbacks in moves that ended, by app.", "app"),
		solves:   histogram("solve_duration_seconds", "How long placement took to make a plan, by app.", "app"),
		proposed: counter("proposed_moves_total", "Moves that plans proposed, by app and reason; the same one may be proposed again.", "app", "reason"),
		writes:   histogram("commit_duration_seconds", "How long the leader's transactions took until their outcome was known, by outcome.", "outcome"),
	}
	r.MustRegister(m.leaderships, m.decisions, m.moves, m.repeated, m.durations, m.failovers, m.retries, m.solves, m.proposed, m.writes, m.goals, newPresent(look))
	return m
}

// Leads counts a leadership.
func (m *Metrics) Leads() {
	if m != nil {
		m.leaderships.Inc()
	}
}

// Ends notes the end of a leadership: what only a leader knows is not told any more.
func (m *Metrics) Ends() {
	if m != nil {
		m.goals.end()
	}
}

// Stepped counts what a step of the ledger said.
func (m *Metrics) Stepped(out *ledger.Effects) {
	if m == nil {
		return
	}
	for _, d := range out.Trace {
		m.decisions.WithLabelValues(nameOf(d.What)).Inc()
	}
	for _, s := range out.Finished {
		result := "done"
		if s.Step == report.StepAborted {
			result = "aborted"
		}
		app := string(s.App)
		m.moves.WithLabelValues(app, reasonName(s.Reason), result).Inc()
		if s.Age > 0 {
			m.durations.WithLabelValues(reasonName(s.Reason), result).Observe(s.Age.Seconds())
		}
		if result == "done" && chosen(s.Reason) && m.recent.again(time.Now(), moved{s.App, s.Shard}) {
			m.repeated.WithLabelValues(app).Inc()
		}
		if s.Unserved > 0 {
			m.failovers.Observe(s.Unserved.Seconds())
		}
		if s.Attempts > 0 {
			m.retries.WithLabelValues(app).Add(float64(s.Attempts))
		}
	}
}

// nameOf is a decision's name without what varies: planned events say their state.
func nameOf(what string) string {
	if strings.HasPrefix(what, "maintenance ") {
		what = "maintenance"
	}
	return strings.ReplaceAll(what, " ", "_")
}

// Solved times a plan.
func (m *Metrics) Solved(took time.Duration, plan *placement.Plan) {
	if m == nil {
		return
	}
	app := string(plan.App)
	m.solves.WithLabelValues(app).Observe(took.Seconds())
	for _, move := range plan.Moves {
		m.proposed.WithLabelValues(app, reasonName(move.Reason)).Inc()
	}
}

// Wrote times a transaction.
func (m *Metrics) Wrote(took time.Duration, outcome ledger.WriteOutcome) {
	if m == nil {
		return
	}
	m.writes.WithLabelValues(outcomes[outcome]).Observe(took.Seconds())
}

// Forget drops what was counted of an app that is not there any more.
func (m *Metrics) Forget(app string) {
	if m == nil {
		return
	}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.moves, m.repeated, m.retries, m.solves, m.proposed} {
		v.DeletePartialMatch(prometheus.Labels{"app": app})
	}
	m.goals.forget(shard.App(app))
}

var outcomes = map[ledger.WriteOutcome]string{
	ledger.Committed: "committed", ledger.NotCommitted: "not_committed", ledger.Superseded: "superseded", ledger.ServerChanged: "server_changed",
}

var reasons = [...]string{"none", "place", "failover", "drain", "balance", "repair", "preference", "spread", "replicas"}

// reasonName names the reason of a move.
func reasonName(r placement.Reason) string {
	if int(r) >= len(reasons) {
		return reasons[0]
	}
	return reasons[r]
}
