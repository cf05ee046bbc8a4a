package metrics_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmanager/shardmanager/internal/nomad/metrics"
)

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	m := metrics.New(r)
	m.Looked(time.UnixMilli(1_500), nil)
	m.Looked(time.UnixMilli(9_000), errors.New("no leader"))
	m.Looked(time.UnixMilli(9_500), errors.New("no leader"))
	m.Ordered("put_off", nil)
	m.Ordered("stop", errors.New("denied"))
	m.Holds(2, 1)
	want := `
# HELP shardmanager_nomad_controller_held What Nomad plans and is held, as of the last good look, by kind: drain or deployment.
# TYPE shardmanager_nomad_controller_held gauge
shardmanager_nomad_controller_held{kind="deployment"} 1
shardmanager_nomad_controller_held{kind="drain"} 2
# HELP shardmanager_nomad_controller_last_look_timestamp_seconds When the last good look was, in Unix time; 0: there was none yet.
# TYPE shardmanager_nomad_controller_last_look_timestamp_seconds gauge
shardmanager_nomad_controller_last_look_timestamp_seconds 1.5
# HELP shardmanager_nomad_controller_looks_total Looks at Nomad and at the leader, by result: good or failed.
# TYPE shardmanager_nomad_controller_looks_total counter
shardmanager_nomad_controller_looks_total{result="failed"} 2
shardmanager_nomad_controller_looks_total{result="good"} 1
# HELP shardmanager_nomad_controller_orders_total Orders given to Nomad and to the leader, repeated ones included, by kind and result: done or refused.
# TYPE shardmanager_nomad_controller_orders_total counter
`
	for _, order := range []string{"cancel", "finish", "pause", "promote", "put_off", "request", "resume", "stop"} {
		done, refused := "0", "0"
		switch order {
		case "put_off":
			done = "1"
		case "stop":
			refused = "1"
		}
		want += "shardmanager_nomad_controller_orders_total{order=\"" + order + "\",result=\"done\"} " + done + "\n" +
			"shardmanager_nomad_controller_orders_total{order=\"" + order + "\",result=\"refused\"} " + refused + "\n"
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	var none *metrics.Metrics
	none.Looked(time.Time{}, nil)
	none.Ordered("stop", nil)
	none.Holds(1, 1)
}
