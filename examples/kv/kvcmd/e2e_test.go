package kvcmd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// lastLine is the generator's last line.
func lastLine(t *testing.T, p *process) kvload.Line {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(p.stdout.String()), "\n")
	var line kvload.Line
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || !line.Final {
		t.Fatalf("last line %q: %v; stderr: %s", lines[len(lines)-1], err, p.stderr)
	}
	return line
}

// analyse judges the histories of a fleet.
func (f *fleet) analyse(kills ...overlap.Kill) *overlap.Report {
	f.t.Helper()
	var all []overlap.History
	for _, path := range f.histories {
		histories, err := overlap.Read(path)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, histories...)
	}
	report, err := overlap.Analyse(all, kills)
	if err != nil {
		f.t.Fatal(err)
	}
	return report
}

// TestPlannedMoves moves every shard under load: nothing fails, overlaps or gets lost.
func TestPlannedMoves(t *testing.T) {
	const shards, rate = 12, 300
	f := startFleet(t, shards, 2)
	history := filepath.Join(t.TempDir(), "requests")
	load := start(t, "load", "--allocators", f.address, "--rate", "300", "--keys", "500", "--history", history)
	awaitFile(t, history)
	for i := range shard.Index(shards) {
		f.move(i, f.servers[(int(i)+1)%2])
	}
	time.Sleep(1500 * time.Millisecond) // some load after the last move, and the linger
	if err := load.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("load: %v: %s", err, load.stderr)
	}
	for _, p := range append(f.processes, f.store) {
		if err := p.stop(t, syscall.SIGTERM); err != nil {
			t.Errorf("%v: %v: %s", p.cmd.Args, err, p.stderr)
		}
	}
	line := lastLine(t, load)
	if line.Failed != 0 || line.LostWrites != 0 || line.RepeatedWrites != 0 || line.StaleReads != 0 || line.UnverifiedKeys != 0 {
		t.Errorf("broken: %+v", line)
	}
	if line.Requests < rate || line.VerifiedKeys == 0 {
		t.Errorf("hardly any load: %+v", line)
	}
	report := f.analyse()
	if report.Overlap != 0 || report.Owners < 2*shards || int64(report.Operations) < line.Requests {
		t.Errorf("overlap %v, %d owners, %d operations: %v", report.Overlap, report.Owners, report.Operations, report.Overlaps)
	}
	sent, err := requests.ReadFile(history)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(sent)) != line.Requests {
		t.Errorf("%d requests in the log, %d counted", len(sent), line.Requests)
	}
}

// TestCost measures the processor time of the demo's load; run by hand: KV_TEST_COST=10s go test -run Cost -v.
func TestCost(t *testing.T) {
	want := os.Getenv("KV_TEST_COST")
	if want == "" {
		t.Skip("set KV_TEST_COST to a duration")
	}
	duration, err := time.ParseDuration(want)
	if err != nil {
		t.Fatal(err)
	}
	f := startFleet(t, 96, 6)
	load := start(t, "load", "--allocators", f.address, "--duration", want, "--history", filepath.Join(t.TempDir(), "requests"))
	if err := load.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, load.stderr)
	}
	cores := func(d time.Duration) float64 { return d.Seconds() / duration.Seconds() }
	var apps time.Duration
	for _, p := range f.processes {
		if err := p.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err, p.stderr)
		}
		apps += p.cpu()
	}
	if err := f.store.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	t.Logf("%+v", lastLine(t, load))
	t.Logf("cores: load %.3f, applications %.3f, store %.3f", cores(load.cpu()), cores(apps), cores(f.store.cpu()))
}
