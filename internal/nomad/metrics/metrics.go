// Package metrics is what the controller beside Nomad counts, for Prometheus.
//
// Called by internal/nomad/controller. Labels have few values: names that the program knows, never jobs, nodes or servers.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/internal/telemetry"
)

const subsystem = "nomad_controller"

// Orders are the kinds of orders that there are.
var Orders = []string{"request", "finish", "cancel", "stop", "pause", "resume", "promote", "put_off"}

// Results of looks and of orders.
const (
	good    = "good"
	failed  = "failed"
	done    = "done"
	refused = "refused"
)

// Metrics is safe for concurrent use. A nil one counts nothing.
type Metrics struct {
	looks    *prometheus.CounterVec
	orders   *prometheus.CounterVec
	held     *prometheus.GaugeVec
	lastLook prometheus.Gauge
}

// New makes metrics. All series are there from the beginning, so that the first of a kind is a change.
func New(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "looks_total",
			Help: "Looks at Nomad and at the leader, by result: good or failed."}, []string{"result"}),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "orders_total",
			Help: "Orders given to Nomad and to the leader, repeated ones included, by kind and result: done or refused."}, []string{"order", "result"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "held",
			Help: "What Nomad plans and is held, as of the last good look, by kind: drain or deployment."}, []string{"kind"}),
		lastLook: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "last_look_timestamp_seconds",
			Help: "When the last good look was, in Unix time; 0: there was none yet."}),
	}
	for _, result := range []string{good, failed} {
		m.looks.WithLabelValues(result)
	}
	for _, order := range Orders {
		m.orders.WithLabelValues(order, done)
		m.orders.WithLabelValues(order, refused)
	}
	m.Holds(0, 0)
	r.MustRegister(m.looks, m.orders, m.held, m.lastLook)
	return m
}

// Looked counts a look that ended at a time, by whether it went well.
func (m *Metrics) Looked(at time.Time, err error) {
	switch {
	case m == nil:
	case err != nil:
		m.looks.WithLabelValues(failed).Inc()
	default:
		m.looks.WithLabelValues(good).Inc()
		m.lastLook.Set(float64(at.UnixMilli()) / 1000)
	}
}

// Ordered counts an order of a kind, by what was answered.
func (m *Metrics) Ordered(order string, err error) {
	if m == nil {
		return
	}
	result := done
	if err != nil {
		result = refused
	}
	m.orders.WithLabelValues(order, result).Inc()
}

// Holds notes how many drains and deployments are held.
func (m *Metrics) Holds(drains, deployments int) {
	if m == nil {
		return
	}
	m.held.WithLabelValues("drain").Set(float64(drains))
	m.held.WithLabelValues("deployment").Set(float64(deployments))
}
