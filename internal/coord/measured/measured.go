// Package measured measures what a process asks of its coordination store.
//
// Called by cmd/shardmanager, which wraps the store of each daemon. Watches are not measured: they end when something changes.
package measured

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// Store is a store whose requests are measured.
type Store struct {
	coord.Store
	requests *prometheus.HistogramVec
}

// New wraps a store.
func New(store coord.Store, r prometheus.Registerer) *Store {
	s := &Store{Store: store, requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "shardmanager", Subsystem: "store", Name: "request_duration_seconds",
		Help:    "How long requests to the coordination store took, by operation and result: ok, conflict, unknown (it may have happened) or error.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"operation", "result"})}
	r.MustRegister(s.requests)
	return s
}

func (s *Store) took(operation string, began time.Time, err error) {
	result := "ok"
	if conflict := (*coord.ConflictError)(nil); errors.As(err, &conflict) {
		result = "conflict"
	} else if errors.Is(err, coord.ErrUnknown) {
		result = "unknown"
	} else if err != nil {
		result = "error"
	}
	s.requests.WithLabelValues(operation, result).Observe(time.Since(began).Seconds())
}

// Txn implements coord.Store.
func (s *Store) Txn(ctx context.Context, ops []coord.Op) (index coord.Index, err error) {
	defer func(began time.Time) { s.took("txn", began, err) }(time.Now())
	return s.Store.Txn(ctx, ops)
}

// Get implements coord.Store.
func (s *Store) Get(ctx context.Context, key string) (entry coord.Entry, found bool, err error) {
	defer func(began time.Time) { s.took("get", began, err) }(time.Now())
	return s.Store.Get(ctx, key)
}

// List implements coord.Store.
func (s *Store) List(ctx context.Context, prefix string) (entries []coord.Entry, err error) {
	defer func(began time.Time) { s.took("list", began, err) }(time.Now())
	return s.Store.List(ctx, prefix)
}

// CreateSession implements coord.Store.
func (s *Store) CreateSession(ctx context.Context, spec coord.SessionSpec) (id coord.SessionID, err error) {
	defer func(began time.Time) { s.took("create_session", began, err) }(time.Now())
	return s.Store.CreateSession(ctx, spec)
}

// RenewSession implements coord.Store.
func (s *Store) RenewSession(ctx context.Context, id coord.SessionID) (found bool, err error) {
	defer func(began time.Time) { s.took("renew_session", began, err) }(time.Now())
	return s.Store.RenewSession(ctx, id)
}

// DestroySession implements coord.Store.
func (s *Store) DestroySession(ctx context.Context, id coord.SessionID) (err error) {
	defer func(began time.Time) { s.took("destroy_session", began, err) }(time.Now())
	return s.Store.DestroySession(ctx, id)
}
