package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// layers lists the packages in the order of docs/architecture.md §2: an import may only point to an earlier row. A path that ends in
// /... is a whole subtree, whose packages may import each other.
var layers = []struct{ layer, path, what string }{
	{"L0", "internal/invariant", "what must be true, checked with a build tag"},
	{"L0", "internal/shard", "vocabulary"},
	{"L0", "internal/load", "load vectors"},
	{"L0", "internal/locality", "fault domains"},
	{"L0", "internal/progress", "how far state has come"},
	{"L0", "internal/latency", "round trips between regions"},
	{"L0", "internal/suggest", "what somebody may have meant"},
	{"L1", "allocator/placement/wyrand", "random numbers for searches"},
	{"L1", "allocator/placement/problem", "what the constraint solver solves"},
	{"L1", "allocator/placement/lanes", "four small amounts at once"},
	{"L1", "allocator/placement/summit", "the largest of heights"},
	{"L1", "allocator/placement/pairs", "how many there are of each pair"},
	{"L1", "allocator/placement/layout", "pure core: a problem laid out for search"},
	{"L1", "allocator/placement/assignment", "pure core: an assignment with its sums, kept incrementally"},
	{"L1", "allocator/placement/engine", "pure core: constraint solver"},
	{"L1", "allocator/placement/waves", "pure core: the order of moves"},
	{"L1", "allocator/placement/ejection", "pure core: room made for what lacks nothing else"},
	{"L1", "allocator/placement/promotions", "pure core: who is primary, evened out"},
	{"L1", "allocator/placement/terms", "what policies say, for placement"},
	{"L1", "allocator/placement/share", "fair parts"},
	{"L1", "allocator/placement/goals", "what an app wants, stated for the constraint solver"},
	{"L1", "allocator/placement/field", "where servers stand"},
	{"L1", "allocator/placement", "pure core: solver"},
	{"L1", "allocator/placement/tally", "pure core: what goals cost and which constraints are broken, for people"},
	{"L1", "allocator/placement/explain", "pure core: why replicas are where they are"},
	{"L1", "allocator/simulation", "pure core: what placement would do"},
	{"L1", "allocator/maintenance/event", "vocabulary of planned events"},
	{"L1", "allocator/maintenance/caps", "pure core: what may be down together"},
	{"L1", "allocator/capacity", "pure core: how many servers an app needs"},
	{"L1", "allocator/row", "pure core: what is durable about one shard, and one server"},
	{"L1", "allocator/scaling", "pure core: how many replicas a shard needs"},
	{"L1", "allocator/spec", "what an app wants"},
	{"L1", "allocator/evidence", "pure core: what losses mean"},
	{"L1", "allocator/maintenance", "pure core: planned events, approved piece by piece"},
	{"L1", "allocator/message", "what the leader says to agents"},
	{"L1", "allocator/purpose", "why a command is sent"},
	{"L1", "allocator/probation", "pure core: servers that flap, shards that kill"},
	{"L1", "allocator/timing", "how long the leader waits for what"},
	{"L1", "allocator/report", "what operators are told of the ledger"},
	{"L1", "allocator/wish", "what operators ask of the leader"},
	{"L1", "allocator/ledger", "pure core: assignments"},
	{"L1", "internal/nomad/steering", "pure core: what Nomad and the leader are told"},
	{"L1", "internal/record", "pure core: what an application does with a command"},
	{"L1", "agent/retry", "when what failed is tried again"},
	{"L1", "agent/receiver", "pure core: what a receiver does with a command"},
	{"L1", "agent/roster", "pure core: what a server holds"},
	{"wire", "proto/...", "generated: below it nobody knows the wire"},
	{"L2", "internal/wire", "proto to vocabulary"},
	{"L2", "internal/filter", "rows picked by an expression"},
	{"L2", "internal/figures", "what was measured, for people"},
	{"L2", "internal/clock", "the two clocks"},
	{"L2", "internal/surroundings", "network and clocks of a process in a test"},
	{"L2", "internal/memnet", "a network in memory"},
	{"L2", "internal/transport", "HTTP"},
	{"L2", "internal/hop", "requests passed on"},
	{"L2", "internal/replay", "bodies of repeated requests"},
	{"L2", "internal/retrybudget", "how many requests may be repeated"},
	{"L2", "internal/lane", "calls of which the newest matters"},
	{"L2", "internal/holding", "the account of requests that wait"},
	{"L2", "internal/keepback", "answers kept back until they may leave"},
	{"L2", "internal/transfer", "streams of state between applications"},
	{"L2", "internal/coord", "what we need of a store"},
	{"L2", "internal/coord/coordtest", "conformance suite"},
	{"L2", "internal/coord/embedded", "bbolt"},
	{"L2", "internal/coord/consul", "Consul"},
	{"L2", "internal/telemetry", "metrics, health, readiness and profiles"},
	{"L2", "internal/tracing", "spans sent to a receiver"},
	{"L2", "internal/coord/observed", "what a process asks of its store"},
	{"L2", "internal/coord/measured", "the same, measured"},
	{"L2", "internal/registration", "processes in Consul's catalog"},
	{"L2", "internal/mapfeed", "shard maps served and followed"},
	{"L2", "internal/nearest", "which replica a read goes to"},
	{"L2", "internal/gossip", "membership and coordinates"},
	{"L2", "internal/operator", "calls of AdminService, as operators make them"},
	{"L2", "internal/nomad/client", "Nomad's HTTP API"},
	{"L2", "internal/nomad/metrics", "what the controller beside Nomad counts"},
	{"L2", "internal/config", "flags, environment, YAML"},
	{"L2", "allocator/policy/eligibility", "which servers satisfy an expression"},
	{"L2", "allocator/policy/statement", "what a policy says, compared"},
	{"L2", "allocator/policy/check", "what is wrong with a policy"},
	{"L2", "allocator/policy", "policies: read, checked, composed"},
	{"L2", "allocator/policy/resolve", "what placement plans by, of policies"},
	{"L2", "allocator/placement/run", "searches side by side, for a time"},
	{"L2", "allocator/appspec", "app specs to and from proto"},
	{"L2", "allocator/whatif", "simulations to and from proto"},
	{"L2", "allocator/eventspec", "planned events to and from proto"},
	{"L2", "allocator/statefile", "what an allocator remembers over its own death"},
	{"L2", "allocator/storage", "the ledger's rows in the store"},
	{"L2", "allocator/generation", "the generation of what is stored"},
	{"L2", "allocator/restore", "copies put back"},
	{"L2", "allocator/apidocs", "the HTTP API, described"},
	{"L2", "allocator/snapshot", "copies of what a cluster keeps"},
	{"L2", "allocator/events", "what the leader decided and saw"},
	{"L2", "allocator/feed", "events for readers outside"},
	{"L2", "allocator/metrics", "what an allocator counts"},
	{"L2", "allocator/spans", "the spans of moves"},
	{"L2", "allocator/regions", "where agents are, and how far regions are apart"},
	{"L2", "allocator/webhook", "events sent to targets outside"},
	{"L2", "allocator/api", "Connect handlers"},
	{"L2", "allocator/sse", "server-sent events"},
	{"L2", "allocator/web", "the operators' page"},
	{"L2", "allocator/workqueue", "work handed to workers"},
	{"L2", "allocator/decisionlog", "decisions, in the log"},
	{"L2", "allocator/cell", "a value that others wait on"},
	{"L2", "allocator/unseat", "standbys that unseat a dead leader"},
	{"L2", "agent/probe", "trying another server for the leader"},
	{"L2", "agent/host/cgroup", "what limits a process"},
	{"L2", "agent/host", "what the host and the processes use"},
	{"L2", "agent/api", "Connect handlers"},
	{"L2", "agent/app", "calls to the local application"},
	{"L2", "agent/process", "processes of applications"},
	{"L2", "agent/metrics", "what an agent counts"},
	{"L2", "agent/spans", "the spans of commands"},
	{"L2", "agent/leaders", "which allocator leads"},
	{"L2", "agent/pacing", "how long to wait before a leader is asked again"},
	{"L3", "internal/nomad/controller", "shell beside Nomad"},
	{"L3", "allocator", "shell"},
	{"L3", "agent", "shell"},
	{"L3", "sdk", "public library"},
	{"L3", "sdk/statestream", "public callbacks for streams of state"},
	{"L3", "sdk/sdktest", "test kit for users' callbacks"},
	{"L3", "sdk/sdktest/ownership", "who may execute what, watched"},
	{"L3", "sdk/sdktest/internal/plane", "a control plane in memory, for the test kit"},
	{"L3", "sdk/sdktest/virtual", "a cluster in memory, in virtual time"},
	{"L3", "internal/succession", "a daemon replaced by the program on disk"},
	{"L3", "internal/logind/...", "systemd-logind"},
	{"–", "internal/linear", "checker of histories"},
	{"–", "internal/overlap/...", "detector"},
	{"–", "examples/...", "applications"},
	{"–", "internal/dev/...", "the demo"},
	{"–", "internal/daemon", "what the daemons of the binary share"},
	{"–", "internal/daemon/lineage", "the agents of one process"},
	{"–", "cmd/shardmanager/shell", "the binary around a verb"},
	{"–", "cmd/shardmanager/app", "the verb of apps"},
	{"–", "cmd/shardmanager/policies", "the verb of policies"},
	{"–", "internal/sim/virtual", "time, clocks and processes of a simulation"},
	{"–", "internal/sim/policies", "policies of simulated operators"},
	{"–", "internal/sim/promise", "checkers of the ten promises"},
	{"–", "internal/sim", "a cluster in virtual time"},
	{"–", "internal/sim/mutation", "deliberate defects, for the simulation to find"},
	{"–", "internal/sim/mutation/play", "the simulation of one defect"},
	{"–", "cmd/shardmanager/sim", "the verb that simulates clusters"},
	{"–", "cmd/shardmanager/simulate", "the verb of simulations"},
	{"–", "cmd/shardmanager/explain", "the verb that explains a shard"},
	{"–", "cmd/shardmanager/doctor", "the verb that checks a cluster"},
	{"–", "cmd/shardmanager/maintenance", "the verbs of planned events"},
	{"–", "cmd/shardmanager/webhooks", "the verbs of webhooks"},
	{"–", "cmd/shardmanager/rollout", "the verb that restarts fleets"},
	{"–", "cmd/shardmanager/contexts", "the verb of contexts: which cluster is spoken to"},
	{"–", "cmd/shardmanager/gossip", "the verb of gossip"},
	{"–", "cmd/shardmanager/snapshot", "the verb of snapshots"},
	{"–", "cmd/shardmanager/hold", "the verbs of what the leader keeps back"},
	{"–", "cmd/shardmanager/nomad", "the daemon beside Nomad"},
	{"–", "cmd/shardmanager", "the binary"},
	{"–", "e2e", "tests over processes"},
	{"–", "e2e/traces", "tests of traces"},
	{"–", "e2e/hosts", "tests over hosts that fail"},
	{"–", "bench/...", "tools that make the figures of docs/benchmarks.md"},
	{"–", "internal/archtest", "this test"},
}

// apart lists who must not know of whom, whatever the layers say; tests included.
var apart = []struct{ from, to, why string }{
	{"agent", "allocator", "they are different processes and meet on the wire only"},
	{"allocator", "agent", "they are different processes and meet on the wire only"},
	{"sdk", "agent", "users link the SDK, not the sidecar"},
	{"sdk", "allocator", "users link the SDK, not the control plane"},
	{"examples", "agent", "an example shows what a user has: the SDK"},
	{"examples", "allocator", "an example shows what a user has: the SDK"},
}

// rank is a package's row in the table; false if it has none.
func rank(p string) (int, bool) {
	for i, l := range layers {
		if top, subtree := strings.CutSuffix(l.path, "/..."); p == l.path || (subtree && under(p, top)) {
			return i, true
		}
	}
	return 0, false
}

func layerViolations(t *tree) []string {
	var bad []string
	for _, p := range t.sorted() {
		own, ok := rank(p.path)
		if !ok {
			bad = append(bad, fmt.Sprintf("%s: has no row in the table of layers: decide where it belongs, here and in docs/architecture.md §2", p.path))
			continue
		}
		for _, imported := range imports(p.code()) {
			target, ok := inModule(imported)
			if !ok {
				continue
			}
			other, known := rank(target)
			if known && (other > own || (other == own && !strings.HasSuffix(layers[own].path, "/..."))) {
				bad = append(bad, fmt.Sprintf("%s (%s, %s) imports %s (%s, %s): imports point to earlier rows only",
					p.path, layers[own].layer, layers[own].what, target, layers[other].layer, layers[other].what))
			}
		}
	}
	return bad
}

func apartViolations(t *tree) []string {
	var bad []string
	for _, p := range t.sorted() {
		for _, imported := range imports(p.files) {
			target, _ := inModule(imported)
			for _, a := range apart {
				if under(p.path, a.from) && under(target, a.to) {
					bad = append(bad, fmt.Sprintf("%s imports %s: %s", p.path, target, a.why))
				}
			}
		}
	}
	return bad
}

func TestLayers(t *testing.T) {
	all := loadTree(t)
	report(t, layerViolations(all))
	report(t, apartViolations(all))
}

func TestLayersBite(t *testing.T) {
	bites(t, "upward", layerViolations(imaginary(t, map[string]string{"internal/shard/a.go": importing("internal/wire")})), "earlier rows only")
	bites(t, "core knows the wire", layerViolations(imaginary(t, map[string]string{"agent/roster/a.go": importing("proto/shardmanager/v1")})), "earlier rows only")
	bites(t, "unknown package", layerViolations(imaginary(t, map[string]string{"internal/utils/a.go": "package utils\n"})), "has no row")
	bites(t, "agent and allocator", apartViolations(imaginary(t, map[string]string{"agent/api/a_test.go": importing("allocator/api")})), "different processes")
	bites(t, "sdk and agent", apartViolations(imaginary(t, map[string]string{"sdk/a.go": importing("agent/roster")})), "not the sidecar")
}

func importing(target string) string {
	return fmt.Sprintf("package a\n\nimport _ %q\n", module+"/"+target)
}

// The table and the page for people say the same.
func TestLayersAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(loadTree(t).root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		name := strings.TrimSuffix(l.path, "/...")
		if name == "examples" {
			name = "examples/kv"
		}
		if !strings.Contains(string(page), "`"+name+"`") && !strings.HasPrefix(l.layer, "wire") {
			t.Errorf("docs/architecture.md does not name `%s`", name)
		}
	}
}
