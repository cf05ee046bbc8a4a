package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/metrics"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func standby() metrics.Present { return metrics.Present{} }

func leader() metrics.Present {
	return metrics.Present{
		Leads: true, Apps: 2, Late: 20 * time.Millisecond, Waiting: 3,
		Summary: report.Summary{LockAge: 500 * time.Millisecond, Unplaced: 4, Lacking: 5, Hold: "6 of 9 are lost"},
		Servers: []report.ServerStatus{{State: report.Attached}, {State: report.Attached, Draining: true}, {State: report.Fencing}},
		Open:    []report.MoveStatus{{Reason: placement.Drain, StepAge: time.Second}, {Reason: placement.Drain, StepAge: 2 * time.Second}},
	}
}

// What the leader tells of the present, and what a standby does not.
func TestPresent(t *testing.T) {
	r := prometheus.NewRegistry()
	metrics.New(r, leader)
	want := `
# HELP shardmanager_allocator_hold 1 while servers that were lost at once are held and not fenced.
# TYPE shardmanager_allocator_hold gauge
shardmanager_allocator_hold 1
# HELP shardmanager_allocator_leader 1 at the leader, else 0. What follows in this group is told by the leader alone.
# TYPE shardmanager_allocator_leader gauge
shardmanager_allocator_leader 1
# HELP shardmanager_allocator_oldest_move_seconds How long the oldest move under way has been in its present step; of new secondaries it is not known.
# TYPE shardmanager_allocator_oldest_move_seconds gauge
shardmanager_allocator_oldest_move_seconds 2
# HELP shardmanager_allocator_servers Incarnations of servers, by state: attached, awaited, suspect, degraded, fencing, resting or over.
# TYPE shardmanager_allocator_servers gauge
shardmanager_allocator_servers{state="attached"} 2
shardmanager_allocator_servers{state="awaited"} 0
shardmanager_allocator_servers{state="degraded"} 0
shardmanager_allocator_servers{state="fencing"} 1
shardmanager_allocator_servers{state="over"} 0
shardmanager_allocator_servers{state="resting"} 0
shardmanager_allocator_servers{state="suspect"} 0
`
	err := testutil.GatherAndCompare(r, strings.NewReader(want), "shardmanager_allocator_hold", "shardmanager_allocator_leader", "shardmanager_allocator_oldest_move_seconds",
		"shardmanager_allocator_servers")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(r, "shardmanager_allocator_open_moves"); err != nil || n != 8 {
		t.Errorf("%d reasons of moves, %v: expected all 8, so that a rate knows 0", n, err)
	}

	r = prometheus.NewRegistry()
	metrics.New(r, standby)
	if n, err := testutil.GatherAndCount(r, "shardmanager_allocator_servers", "shardmanager_allocator_unavailable_shards"); err != nil || n != 0 {
		t.Errorf("a standby tells %d things of the cluster, %v", n, err)
	}
}

// What a step of the ledger says is counted: moves by their end, and what was chosen to move again soon.
func TestStepped(t *testing.T) {
	r := prometheus.NewRegistry()
	m := metrics.New(r, standby)
	move := func(id shard.ID, reason placement.Reason, step report.MoveStep) report.MoveStatus {
		return report.MoveStatus{App: "kv", Shard: id, Reason: reason, Step: step, Age: 3 * time.Second}
	}
	failover := move("1", placement.Failover, report.StepDone)
	failover.Unserved, failover.Attempts = 7*time.Second, 2
	m.Stepped(&ledger.Effects{
		Trace: []ledger.Decision{{What: "move opened"}, {What: "move opened"}, {What: "maintenance approved"}, {What: "maintenance done"}},
		Finished: []report.MoveStatus{
			move("1", placement.Balance, report.StepDone), move("1", placement.Drain, report.StepDone), move("2", placement.Balance, report.StepAborted), move("2", placement.Balance, report.StepAborted), failover,
		},
	})
	m.Wrote(10*time.Millisecond, ledger.Committed)
	m.Solved(10*time.Millisecond, &placement.Plan{App: "kv", Moves: []placement.Move{{Reason: placement.Balance}}})
	want := `
# HELP shardmanager_allocator_callback_failures_total Failures of callbacks in moves that ended, by app.
# TYPE shardmanager_allocator_callback_failures_total counter
shardmanager_allocator_callback_failures_total{app="kv"} 2
# HELP shardmanager_allocator_decisions_total What the leader decided and saw, by the decision's name, as ` + "`shardmanager events`" + ` shows it.
# TYPE shardmanager_allocator_decisions_total counter
shardmanager_allocator_decisions_total{decision="maintenance"} 2
shardmanager_allocator_decisions_total{decision="move_opened"} 2
# HELP shardmanager_allocator_moves_total Moves that ended, placements, failovers and new secondaries included, by app, reason and result: done or aborted.
# TYPE shardmanager_allocator_moves_total counter
shardmanager_allocator_moves_total{app="kv",reason="balance",result="aborted"} 2
shardmanager_allocator_moves_total{app="kv",reason="balance",result="done"} 1
shardmanager_allocator_moves_total{app="kv",reason="drain",result="done"} 1
shardmanager_allocator_moves_total{app="kv",reason="failover",result="done"} 1
# HELP shardmanager_allocator_proposed_moves_total Moves that plans proposed, by app and reason; the same one may be proposed again.
# TYPE shardmanager_allocator_proposed_moves_total counter
shardmanager_allocator_proposed_moves_total{app="kv",reason="balance"} 1
# HELP shardmanager_allocator_repeated_moves_total Moves for drain, balance, preference or spread of shards that had been moved for one of these in the last 10 to 20 minutes, by app: thrash.
# TYPE shardmanager_allocator_repeated_moves_total counter
shardmanager_allocator_repeated_moves_total{app="kv"} 1
`
	names := []string{"callback_failures_total", "decisions_total", "moves_total", "proposed_moves_total", "repeated_moves_total"}
	for i, name := range names {
		names[i] = "shardmanager_allocator_" + name
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]int{"failover_unserved_seconds": 1, "move_duration_seconds": 4, "commit_duration_seconds": 1, "solve_duration_seconds": 1} {
		if n, err := testutil.GatherAndCount(r, "shardmanager_allocator_"+name); err != nil || n != want {
			t.Errorf("%s: %d series, %v: expected %d", name, n, err, want)
		}
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	m.Forget("kv")
	if n, err := testutil.GatherAndCount(r, "shardmanager_allocator_moves_total", "shardmanager_allocator_solve_duration_seconds"); err != nil || n != 0 {
		t.Errorf("%d series of an app that is gone, %v", n, err)
	}
	var nobody *metrics.Metrics
	nobody.Leads()
	nobody.Stepped(&ledger.Effects{})
	nobody.Wrote(0, ledger.Committed)
	nobody.Solved(0, &placement.Plan{})
	nobody.Forget("kv")
}
