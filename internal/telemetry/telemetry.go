// Package telemetry is how a daemon tells machines about itself: metrics for Prometheus, whether it lives, whether it is ready, and profiles.
//
// Called by internal/daemon and by the shells, which put their own metrics into the registry. It knows none of them.
package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Paths of the endpoints; those of health are Kubernetes' names.
const (
	MetricsPath  = "/metrics"
	LivePath     = "/livez"
	ReadyPath    = "/readyz"
	ProfilesPath = "/debug/pprof/"
)

// patience is how long a check may take.
const patience = 2 * time.Second

// Check says how a process stands: nil, or why not, for people.
type Check func(context.Context) error

// NewRegistry makes a registry that has what every process of ours tells: memory, processor, goroutines, and what was built.
func NewRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	built := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: Namespace, Name: "build_info", Help: "1, with the version of the program.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), built)
	return r
}

// Handle adds the endpoints to a mux. Live is whether the process should be left running, ready whether it does its work: a deployer waits for
// that before it goes on.
func Handle(mux *http.ServeMux, metrics prometheus.Gatherer, live, ready Check) {
	mux.Handle("GET "+MetricsPath, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("GET "+LivePath, answer(live))
	mux.Handle("GET "+ReadyPath, answer(ready))
	mux.HandleFunc("GET "+ProfilesPath, pprof.Index)
	mux.HandleFunc("GET "+ProfilesPath+"cmdline", pprof.Cmdline)
	mux.HandleFunc("GET "+ProfilesPath+"profile", pprof.Profile)
	mux.HandleFunc("GET "+ProfilesPath+"symbol", pprof.Symbol)
	mux.HandleFunc("GET "+ProfilesPath+"trace", pprof.Trace)
}

// answer is 200 and ok, or 503 and why.
func answer(check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := check(ctx); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprintln(w, err) // whoever asked may be gone
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
}
