package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	agentmetrics "github.com/shardmanager/shardmanager/agent/metrics"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/metrics"
	"github.com/shardmanager/shardmanager/allocator/webhook"
	"github.com/shardmanager/shardmanager/internal/coord/measured"
	controllermetrics "github.com/shardmanager/shardmanager/internal/nomad/metrics"
	"github.com/shardmanager/shardmanager/internal/telemetry"
)

// names collects the names of whatever is registered.
type names struct{ list []string }

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (n *names) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			n.list = append(n.list, fqName.FindStringSubmatch(d.String())[1])
		}
	}
}

func (n *names) Register(c prometheus.Collector) error { n.MustRegister(c); return nil }
func (n *names) Unregister(prometheus.Collector) bool  { return false }

// ours are the names of all metrics that a process of ours may tell.
func ours(t *testing.T) []string {
	t.Helper()
	n := new(names)
	metrics.New(n, func() metrics.Present { return metrics.Present{Leads: true} })
	webhook.New(nil, webhook.Deps{Metrics: n})
	agentmetrics.New(n, func() []roster.View { return nil })
	measured.New(nil, n)
	controllermetrics.New(n)
	families, err := telemetry.NewRegistry("v1").Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "shardmanager_") {
			n.list = append(n.list, f.GetName())
		}
	}
	n.list = append(n.list, "shardmanager_store_takes_writes") // of `shardmanager store`, looked at in e2e
	slices.Sort(n.list)
	return slices.Compact(n.list)
}

func contents(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	metricRow = regexp.MustCompile("(?m)^\\| `(shardmanager_[a-z_]+)` \\|")
	metricUse = regexp.MustCompile(`shardmanager_[a-z_]+`)
	suffixes  = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// docs/metrics.md says what there is, no more and no less; alerts and dashboards ask for nothing else.
func TestMetricsAreDocumented(t *testing.T) {
	all := ours(t)
	var documented []string
	for _, row := range metricRow.FindAllStringSubmatch(contents(t, "../../docs/metrics.md"), -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(documented)
	if !slices.Equal(all, documented) {
		t.Errorf("docs/metrics.md has %q, and there are %q", documented, all)
	}
	dashboard, alerts := contents(t, "../../deploy/grafana/shardmanager.json"), contents(t, "../../deploy/prometheus/alerts.yaml")
	if !json.Valid([]byte(dashboard)) {
		t.Error("the dashboard is no JSON")
	}
	uses := metricUse.FindAllString(dashboard+alerts, -1)
	for _, use := range uses {
		if !slices.Contains(all, use) && !slices.Contains(all, suffixes.ReplaceAllString(use, "")) {
			t.Errorf("an alert or the dashboard asks for %s, which nobody tells", use)
		}
	}
	if len(uses) < 40 {
		t.Errorf("alerts and dashboard ask for %d metrics only", len(uses))
	}
}

// Every alert says how urgent it is and what is the matter, and has an entry in the runbook, which has no others.
func TestAlertsHaveARunbook(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Expr        string
				Labels      struct{ Severity string }
				Annotations struct{ Summary string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(contents(t, "../../deploy/prometheus/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var alerts, entries []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Alert)
			if r.Expr == "" || r.Annotations.Summary == "" || r.Labels.Severity != "page" && r.Labels.Severity != "ticket" {
				t.Errorf("%s: expected an expression, a summary and a severity of page or ticket: %+v", r.Alert, r)
			}
		}
	}
	for line := range strings.Lines(contents(t, "../../docs/runbook.md")) {
		if entry, ok := strings.CutPrefix(line, "## "); ok {
			entries = append(entries, strings.TrimSpace(entry))
		}
	}
	if !slices.Equal(alerts, entries) || len(alerts) == 0 {
		t.Errorf("alerts %q, and entries of the runbook %q", alerts, entries)
	}
}

// Prometheus' own tool reads the alerts and the configuration, where it is there.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not there (Debian: prometheus): the syntax of alert rules is not checked")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"check", "config", "--syntax-only", "prometheus.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
