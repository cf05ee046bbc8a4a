// Package metrics is what an agent counts and times, for Prometheus.
//
// Called by the agent's shell; what it shows of the present it asks for when it is collected. Labels have few values: apps, of which an agent has a
// handful, and names that the program knows.
package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/telemetry"
)

const subsystem = "agent"

// Metrics is safe for concurrent use. A nil one counts nothing.
type Metrics struct {
	callbacks *prometheus.HistogramVec
	margins   *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	delays    *prometheus.HistogramVec
}

// New makes metrics, and shows what look sees of the present each time they are collected.
func New(r prometheus.Registerer, look func() []roster.View) *Metrics {
	m := &Metrics{
		callbacks: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "callback_duration_seconds",
			Help:    "How long callbacks of the application took, by app, callback and outcome.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, []string{"app", "callback", "outcome"}),
		margins: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "lease_margin_seconds",
			Help:    "What was left of a lease when it was renewed, by app: near 0, it nearly ended.",
			Buckets: []float64{0, .1, .25, .5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 30}}, []string{"app"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "decisions_total",
			Help: "What the agent decided and saw of its servers, by app and the decision's name, as its log says it."}, []string{"app", "decision"}),
	}
	m.delays = prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "map_delay_seconds",
		Help:    "How long changes of shard maps were on their way from the leader, by app and the clocks of both hosts.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, []string{"app"})
	r.MustRegister(m.callbacks, m.margins, m.decisions, m.delays, newPresent(look))
	return m
}

var callbacks = map[roster.CallKind]string{
	roster.CallActivate: "activate", roster.CallAddShard: "add_shard", roster.CallDropShard: "drop_shard", roster.CallPrepareAdd: "prepare_add_shard",
	roster.CallPrepareDrop: "prepare_drop_shard", roster.CallCancelMove: "cancel_move", roster.CallCollectLoad: "collect_load",
	roster.CallEndIncarnation: "end_incarnation", roster.CallUpdateMembership: "update_membership",
}

var lives = map[roster.Life]string{
	roster.Waiting: "waiting", roster.Resuming: "resuming", roster.Registering: "registering", roster.Live: "live", roster.Ending: "ending",
}

var outcomes = map[roster.Outcome]string{
	roster.CallOK: "ok", roster.CallStale: "stale", roster.CallBusy: "busy", roster.CallNotBegun: "not_begun", roster.CallBegun: "begun", roster.CallFailed: "failed",
}

// Called times a callback.
func (m *Metrics) Called(app shard.App, kind roster.CallKind, outcome roster.Outcome, took time.Duration) {
	if m != nil {
		m.callbacks.WithLabelValues(string(app), callbacks[kind], outcomes[outcome]).Observe(took.Seconds())
	}
}

// MapArrived notes how long a change of an app's map took to arrive.
func (m *Metrics) MapArrived(app shard.App, delay time.Duration) {
	if m != nil {
		m.delays.WithLabelValues(string(app)).Observe(delay.Seconds())
	}
}

// Renewed notes what was left of a lease that is renewed now.
func (m *Metrics) Renewed(app shard.App, left time.Duration) {
	if m != nil {
		m.margins.WithLabelValues(string(app)).Observe(left.Seconds())
	}
}

// Decided counts decisions; those about single shards in their course are not told apart from the callbacks that carry them out.
func (m *Metrics) Decided(app shard.App, list []roster.Decision) {
	if m == nil {
		return
	}
	for _, d := range list {
		if d.Weight != roster.Detail {
			m.decisions.WithLabelValues(string(app), strings.ReplaceAll(d.What, " ", "_")).Inc()
		}
	}
}

// present is a collector of how the servers beside an agent stand.
type present struct {
	look func() []roster.View

	lives, attached, draining, lease, shards *prometheus.Desc
}

func newPresent(look func() []roster.View) *present {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return telemetry.Desc(subsystem, name, help, labels...)
	}
	return &present{
		look:     look,
		lives:    desc("server_state", "1 for the state that the server of an app is in, 0 for the others: waiting for its application, resuming, registering, live or ending.", "app", "state"),
		attached: desc("attached", "1 while the server of an app has a stream to the leader, else 0.", "app"),
		draining: desc("draining", "1 while the server of an app is being drained, else 0.", "app"),
		lease:    desc("lease_remaining_seconds", "What is left of the lease of the server of an app.", "app"),
		shards:   desc("shards", "Shards that the server of an app holds, by phase.", "app", "phase"),
	}
}

// Describe implements prometheus.Collector.
func (p *present) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.lives, p.attached, p.draining, p.lease, p.shards} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *present) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) { telemetry.Gauge(ch, d, value, labels...) }
	for _, v := range p.look() {
		app := string(v.Server.App)
		for life, name := range lives {
			gauge(p.lives, telemetry.Bool(v.Life == life), app, name)
		}
		gauge(p.attached, telemetry.Bool(v.Attached), app)
		gauge(p.draining, telemetry.Bool(v.Draining), app)
		gauge(p.lease, v.Remaining.Seconds(), app)
		phases := map[shard.Phase]int{}
		for _, h := range v.Held {
			phases[h.Phase]++
		}
		for phase := shard.Prepared; phase <= shard.Following; phase++ {
			gauge(p.shards, float64(phases[phase]), app, phase.String())
		}
	}
}
