package webhook

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/internal/telemetry"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const subsystem = "webhook"

// counters of one target. The zero value counts nothing.
type counters struct{ delivered, failed, dead prometheus.Counter }

func (c counters) attempt(delivered bool) {
	switch {
	case c.delivered == nil:
	case delivered:
		c.delivered.Inc()
	default:
		c.failed.Inc()
	}
}

func (c counters) died() {
	if c.dead != nil {
		c.dead.Inc()
	}
}

// register has the metrics of all targets told. Labels are the names of the configuration.
func (s *Sender) register(r prometheus.Registerer) {
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "attempts_total",
		Help: "Attempts to deliver an event, by target and result: delivered or failed."}, []string{"target", "result"})
	dead := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "dead_letters_total",
		Help: "Events that were given up, by target."}, []string{"target"})
	for _, l := range s.lines {
		name := l.target.Name
		l.count = counters{attempts.WithLabelValues(name, "delivered"), attempts.WithLabelValues(name, "failed"), dead.WithLabelValues(name)}
	}
	r.MustRegister(attempts, dead, &present{
		sender:   s,
		lag:      telemetry.Desc(subsystem, "lag_events", "Events that a target was not told of yet.", "target"),
		kept:     telemetry.Desc(subsystem, "kept_dead_letters", "Dead letters that are kept, by target.", "target"),
		disabled: telemetry.Desc(subsystem, "disabled", "1 while a target is disabled because it answered 410.", "target"),
	})
}

// present is a collector of how targets are. Only a leader tells of them.
type present struct {
	sender              *Sender
	lag, kept, disabled *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (p *present) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.lag, p.kept, p.disabled} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *present) Collect(ch chan<- prometheus.Metric) {
	newest := p.sender.deps.Events.Newest()
	for _, l := range p.sender.lines {
		l.mu.Lock()
		running, lag, kept, state := l.running, l.lag(newest), len(l.dead), l.state
		l.mu.Unlock()
		if !running {
			continue
		}
		telemetry.Gauge(ch, p.lag, float64(lag), l.target.Name)
		telemetry.Gauge(ch, p.kept, float64(kept), l.target.Name)
		telemetry.Gauge(ch, p.disabled, telemetry.Bool(state == pb.WebhookState_WEBHOOK_STATE_DISABLED), l.target.Name)
	}
}
