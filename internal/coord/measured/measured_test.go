package measured_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/coord/measured"
)

func TestRequests(t *testing.T) {
	engine, err := embedded.Open(embedded.Config{}, embedded.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewRegistry()
	s := measured.New(engine, r)
	ctx := t.Context()
	id, err := s.CreateSession(ctx, coord.SessionSpec{Name: "a", TTL: 10e9, Behavior: coord.Release})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.RenewSession(ctx, id)
	_, txn := s.Txn(ctx, []coord.Op{{Verb: coord.Set, Key: "k", Value: []byte("v")}})
	_, list := s.List(ctx, "k")
	_, _, get := s.Get(ctx, "k")
	if err := errors.Join(err, txn, list, get, s.DestroySession(ctx, id)); err != nil {
		t.Fatal(err)
	}
	var conflict *coord.ConflictError
	if _, err := s.Txn(ctx, []coord.Op{{Verb: coord.CheckNotExists, Key: "k"}}); !errors.As(err, &conflict) {
		t.Fatalf("expected a conflict, not %v", err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(ctx, "k"); err == nil {
		t.Fatal("a closed store answers")
	}
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	var seen []string
	for _, m := range families[0].GetMetric() {
		seen = append(seen, m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue())
		if m.GetHistogram().GetSampleCount() != 1 {
			t.Errorf("%v: %d requests", m.GetLabel(), m.GetHistogram().GetSampleCount())
		}
	}
	want := []string{"create_session ok", "destroy_session ok", "get error", "get ok", "list ok", "renew_session ok", "txn conflict", "txn ok"}
	if !slices.Equal(seen, want) {
		t.Errorf("requests %q, expected %q", seen, want)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
