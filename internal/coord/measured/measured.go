// Package measured measures what a process asks of its coordination store.
//
// Called by cmd/shardmanager, which wraps the store of each daemon.
package measured

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/observed"
	"github.com/shardmanager/shardmanager/internal/telemetry"
)

// New makes a store's requests, watches aside, known to a registry.
func New(store coord.Store, r prometheus.Registerer) coord.Store {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: telemetry.Namespace, Subsystem: "store", Name: "request_duration_seconds",
		Help:    "How long requests to the coordination store took, by operation and result: ok, conflict, unknown (it may have happened) or error.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"operation", "result"})
	r.MustRegister(requests)
	return observed.Store{Store: store, Saw: func(_ context.Context, op observed.Operation, took time.Duration, err error) {
		requests.WithLabelValues(string(op), result(err)).Observe(took.Seconds())
	}}
}

func result(err error) string {
	var conflict *coord.ConflictError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &conflict):
		return "conflict"
	case errors.Is(err, coord.ErrUnknown):
		return "unknown"
	}
	return "error"
}
