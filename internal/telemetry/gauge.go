package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Namespace begins the names of our metrics.
const Namespace = "shardmanager"

// Desc describes a metric that is made when it is collected.
func Desc(subsystem, name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(Namespace, subsystem, name), help, labels, nil)
}

// Gauge tells the value of one now.
func Gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// Bool is 1 for yes.
func Bool(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
