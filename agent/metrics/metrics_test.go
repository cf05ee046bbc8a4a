package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmanager/shardmanager/agent/metrics"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	m := metrics.New(r, func() []roster.View {
		return []roster.View{{
			Server: shard.Server{App: "kv"}, Life: roster.Live, Remaining: 4 * time.Second, Attached: true, Draining: true,
			Held: []shard.Held{{Shard: "1", Phase: shard.Serving}, {Shard: "2", Phase: shard.Serving}, {Shard: "3", Phase: shard.Following}, {Shard: "4", Phase: shard.None}},
		}}
	})
	m.Called("kv", roster.CallAddShard, roster.CallOK, 20*time.Millisecond)
	m.Called("kv", roster.CallAddShard, roster.CallFailed, time.Second)
	m.MapArrived("kv", 30*time.Millisecond)
	m.Renewed("kv", 4500*time.Millisecond)
	m.Decided("kv", []roster.Decision{{What: "lease ran out", Weight: roster.Trouble}, {What: "add shard done", Weight: roster.Detail}})
	want := `
# HELP shardmanager_agent_attached 1 while the server of an app has a stream to the leader, else 0.
# TYPE shardmanager_agent_attached gauge
shardmanager_agent_attached{app="kv"} 1
# HELP shardmanager_agent_decisions_total What the agent decided and saw of its servers, by app and the decision's name, as its log says it.
# TYPE shardmanager_agent_decisions_total counter
shardmanager_agent_decisions_total{app="kv",decision="lease_ran_out"} 1
# HELP shardmanager_agent_draining 1 while the server of an app is being drained, else 0.
# TYPE shardmanager_agent_draining gauge
shardmanager_agent_draining{app="kv"} 1
# HELP shardmanager_agent_lease_remaining_seconds What is left of the lease of the server of an app.
# TYPE shardmanager_agent_lease_remaining_seconds gauge
shardmanager_agent_lease_remaining_seconds{app="kv"} 4
# HELP shardmanager_agent_server_state 1 for the state that the server of an app is in, 0 for the others: waiting for its application, resuming, registering, live or ending.
# TYPE shardmanager_agent_server_state gauge
shardmanager_agent_server_state{app="kv",state="ending"} 0
shardmanager_agent_server_state{app="kv",state="live"} 1
shardmanager_agent_server_state{app="kv",state="registering"} 0
shardmanager_agent_server_state{app="kv",state="resuming"} 0
shardmanager_agent_server_state{app="kv",state="waiting"} 0
# HELP shardmanager_agent_shards Shards that the server of an app holds, by phase.
# TYPE shardmanager_agent_shards gauge
shardmanager_agent_shards{app="kv",phase="forwarding"} 0
shardmanager_agent_shards{app="kv",phase="prepared"} 0
shardmanager_agent_shards{app="kv",phase="primary"} 2
shardmanager_agent_shards{app="kv",phase="secondary"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]int{"callback_duration_seconds": 2, "lease_margin_seconds": 1} {
		if n, err := testutil.GatherAndCount(r, "shardmanager_agent_"+name); err != nil || n != want {
			t.Errorf("%s: %d series, %v: expected %d", name, n, err, want)
		}
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	var nobody *metrics.Metrics
	nobody.Called("kv", roster.CallAddShard, roster.CallOK, 0)
	nobody.Renewed("kv", 0)
	nobody.Decided("kv", []roster.Decision{{What: "x"}})
}
