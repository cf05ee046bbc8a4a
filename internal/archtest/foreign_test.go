package archtest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// foreign says where each foreign library may be used outside of tests, and why there. A library that is not listed is not used at all.
// Paths include what is below them.
var foreign = []struct {
	library string
	in      []string
	why     string
}{
	{"connectrpc.com/connect", []string{"proto", "internal/wire", "internal/hop", "internal/transfer", "internal/mapfeed", "internal/operator", "internal/coord/embedded", "allocator/api", "allocator/snapshot", "agent/api", "agent/app",
		"agent", "sdk", "examples/kv", "internal/dev", "bench", "cmd/shardmanager"}, "the wire: whoever serves or calls a service"},
	{"connectrpc.com/grpchealth", []string{"allocator/api", "agent", "cmd/shardmanager"}, "whoever has a listener"},
	{"connectrpc.com/grpcreflect", []string{"allocator/api", "agent", "cmd/shardmanager"}, "whoever has a listener"},
	{"google.golang.org/protobuf", []string{"proto", "internal/wire", "internal/hop", "internal/transfer", "internal/mapfeed", "internal/coord/embedded", "internal/config", "internal/filter", "allocator/storage", "allocator/snapshot", "allocator/policy",
		"allocator/appspec", "allocator/sse", "allocator/webhook", "sdk", "examples/kv", "bench/watchers", "cmd/shardmanager"}, "messages: encoded, stored, read from YAML"},
	{"github.com/cenkalti/backoff/v4", []string{"internal/mapfeed", "internal/gossip", "internal/operator", "internal/coord/embedded", "internal/coord/consul", "internal/registration", "internal/nomad/controller", "allocator", "agent", "sdk", "cmd/shardmanager"}, "retries"},
	{"github.com/hashicorp/serf", []string{"internal/gossip"}, "gossip: membership and coordinates"},
	{"github.com/hashicorp/memberlist", []string{"internal/gossip"}, "serf's configuration and sockets"},
	{"github.com/cespare/xxhash/v2", []string{"internal/shard", "internal/transfer"}, "the hash key space; the checksum of streams of state"},
	{"github.com/klauspost/compress", []string{"internal/wire"}, "the stored form of values"},
	{"github.com/hashicorp/consul/api", []string{"internal/coord/consul"}, "Consul"},
	{"go.etcd.io/bbolt", []string{"internal/coord/embedded"}, "the embedded store's file"},
	{"go.yaml.in/yaml/v3", []string{"internal/config"}, "configuration files"},
	{"github.com/standard-webhooks/standard-webhooks/libraries", []string{"allocator/webhook"}, "signatures of webhooks, by those who wrote the specification"},
	{"github.com/google/cel-go", []string{"allocator/policy/eligibility", "internal/filter"}, "predicates over servers and rows: the compiler and interpreter of CEL, without I/O or clocks"},
	{"github.com/spf13/pflag", []string{"internal/config"}, "flags over environment over file"},
	{"github.com/spf13/cobra", []string{"internal/daemon", "cmd/shardmanager", "examples/kv/kvcmd"}, "command lines"},
	{"github.com/rs/zerolog", []string{"internal/gossip", "internal/registration", "internal/nomad/controller", "allocator", "agent", "internal/daemon", "bench", "cmd/shardmanager"}, "the daemons' log; the SDK takes *slog.Logger"},
	{"github.com/prometheus/client_golang", []string{"internal/telemetry", "internal/coord/measured", "internal/nomad/metrics", "internal/nomad/controller", "internal/daemon", "allocator", "agent", "cmd/shardmanager"}, "metrics, for whoever collects them; the SDK has none of it"},
	{"github.com/shirou/gopsutil/v3", []string{"agent/host"}, "what the host has and uses"},
	{"github.com/coreos/go-systemd/v22", []string{"internal/daemon", "examples/kv/kvcmd"}, "telling systemd that a process is ready, well, or stops"},
	{"github.com/godbus/dbus/v5", []string{"internal/logind"}, "systemd-logind: a shutdown waits for the drain"},
	{"go.opentelemetry.io/otel/exporters", []string{"internal/tracing"}, "spans sent; the SDK's users choose their own way"},
	{"go.opentelemetry.io/otel/sdk", []string{"internal/tracing"}, "spans kept and sampled; likewise"},
	{"go.opentelemetry.io/otel", []string{"internal/tracing", "internal/daemon", "allocator", "agent", "sdk"}, "spans made: the interface alone, which costs nothing until somebody provides"},
	{"go.opentelemetry.io/proto/otlp", nil, "tests only: a receiver of spans"},
	{"connectrpc.com/otelconnect", []string{"agent/app"}, "spans of calls to applications"},
	{"golang.org/x/sync", []string{"allocator", "agent"}, "errgroup: the shells' goroutines"},
	{"golang.org/x/sys", []string{"internal/clock", "allocator", "agent", "sdk"}, "clocks, pidfds, file locks"},
	{"golang.org/x/term", []string{"internal/daemon", "cmd/shardmanager"}, "is the output a terminal?"},
	{"github.com/google/go-cmp", []string{"internal/coord/coordtest"}, "the conformance suite is a test in all but name"},
	{"gonum.org/v1/plot", []string{"bench/rollout/figure"}, "plots of experiments"},
	{"github.com/anishathalye/porcupine", []string{"internal/linear"}, "are histories linearizable? tests only, but for the package that asks"},
	{"github.com/chromedp/chromedp", nil, "tests only: a browser"},
	{"github.com/chromedp/cdproto", nil, "tests only: what is said to it"},
	{"pgregory.net/rapid", nil, "tests only"},
	{"go.uber.org/goleak", nil, "tests only"},
	{"github.com/cockroachdb/datadriven", nil, "tests only"},
}

// sdkLibraries is all that users of the SDK get into their own builds.
var sdkLibraries = []string{
	"connectrpc.com/connect", "google.golang.org/protobuf", "github.com/cenkalti/backoff/v4", "github.com/cespare/xxhash/v2", "github.com/klauspost/compress",
	"golang.org/x/sys", "go.opentelemetry.io/otel",
}

// libraryOf is the row of an import path; -1 if there is none.
func libraryOf(importPath string) int {
	return slices.IndexFunc(foreign, func(f struct {
		library string
		in      []string
		why     string
	}) bool {
		return under(importPath, f.library)
	})
}

func foreignViolations(t *tree) []string {
	var bad []string
	for _, p := range t.sorted() {
		for _, imported := range imports(p.files) {
			if _, ours := inModule(imported); ours || standard(imported) {
				continue
			}
			if libraryOf(imported) < 0 {
				bad = append(bad, fmt.Sprintf("%s imports %s, which has no row in the table of foreign libraries", p.path, imported))
			}
		}
		for _, imported := range imports(p.code()) {
			row := libraryOf(imported)
			if row < 0 || slices.ContainsFunc(foreign[row].in, func(in string) bool { return under(p.path, in) }) {
				continue
			}
			bad = append(bad, fmt.Sprintf("%s imports %s, which belongs to %v (%s)", p.path, imported, foreign[row].in, foreign[row].why))
		}
	}
	return bad
}

// reached lists the foreign libraries that a package brings along, itself and through packages of this module, with the way.
func reached(t *tree, start string) map[string]string {
	libraries, seen := map[string]string{}, map[string]bool{}
	var visit func(name, way string)
	visit = func(name, way string) {
		p := t.packages[name]
		if p == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, imported := range imports(p.code()) {
			if target, ours := inModule(imported); ours {
				visit(target, way+" → "+target)
			} else if row := libraryOf(imported); row >= 0 && libraries[foreign[row].library] == "" {
				libraries[foreign[row].library] = way
			}
		}
	}
	visit(start, start)
	return libraries
}

func sdkViolations(t *tree) []string {
	var bad []string
	libraries := reached(t, "sdk")
	for _, library := range slices.Sorted(maps.Keys(libraries)) {
		if !slices.Contains(sdkLibraries, library) {
			bad = append(bad, fmt.Sprintf("users of the SDK get %s, by %s", library, libraries[library]))
		}
	}
	return bad
}

func TestForeignLibraries(t *testing.T) {
	all := loadTree(t)
	report(t, foreignViolations(all))
	report(t, sdkViolations(all))
	if got := reached(all, "sdk"); got["connectrpc.com/connect"] == "" || got["github.com/cespare/xxhash/v2"] == "" {
		t.Errorf("the SDK's libraries are %v: connect and xxhash are missing, the rule holds of nothing", got)
	}
}

func TestForeignLibrariesBite(t *testing.T) {
	testify := "package a\n\nimport _ \"github.com/stretchr/testify/require\"\n"
	bites(t, "unknown library", foreignViolations(imaginary(t, map[string]string{"sdk/a_test.go": testify})), "has no row")
	bolt := "package a\n\nimport _ \"go.etcd.io/bbolt\"\n"
	bites(t, "library in the wrong place", foreignViolations(imaginary(t, map[string]string{"allocator/a.go": bolt})), "belongs to [internal/coord/embedded]")
	bites(t, "library of the SDK", sdkViolations(imaginary(t, map[string]string{"sdk/a.go": importing("internal/coord/embedded"), "internal/coord/embedded/a.go": bolt})),
		"sdk → internal/coord/embedded")
}
