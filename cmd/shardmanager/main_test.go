package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// shell runs one command line in this process.
func shell(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func write(t *testing.T, name, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRefusals(t *testing.T) {
	bad := write(t, "bad.yaml", "cluster: test\nlease:\n  validty: 1s\n")
	slow := write(t, "slow.yaml", "cluster: test\nallocators: [a:1]\nlease:\n  validity: 100ms\n")
	spec := write(t, "app.yaml", "name: kv\nkey_space:\n  range: {}\n")
	for _, test := range []struct {
		line string
		code int
		want []string // in stderr
	}{
		{"nonsense", exitUsage, []string{`unknown command "nonsense"; see shardmanager --help`}},
		{"stats", exitUsage, []string{"did you mean status?"}},
		{"app nonsense", exitUsage, []string{`shardmanager app: unknown command "nonsense"`}},
		{"app get", exitUsage, []string{"expected NAME; usage: shardmanager app get NAME"}},
		{"app get a b", exitUsage, []string{`unexpected argument "b"`}},
		{"shards drop", exitUsage, []string{`shardmanager shards: unknown command "drop"`}},
		{"map", exitUsage, []string{"expected APP"}},
		{"moves abort kv", exitUsage, []string{"expected SHARD; usage: shardmanager moves abort APP SHARD"}},
		{"moves skip kv 07 --step nonsense", exitUsage, []string{"--step: expected one of aborted, aborting, add", `not "nonsense"`}},
		{"moves nonsense", exitUsage, []string{`unexpected argument "nonsense"`}},
		{"explain kv", exitUsage, []string{"expected SHARD"}},
		{"events --admin nonsense", exitUsage, []string{"--admin", "expected host:port"}},
		{"events --follow --admin 127.0.0.1:1", exitFailure, []string{"cannot reach allocator 127.0.0.1:1"}},
		{"dev --page nonsense", exitUsage, []string{`page "nonsense": expected host:port, or nothing for no page`}},
		{"dev --config " + slow, exitUsage, []string{slow + ":1: cluster: unknown field"}},
		{"drain", exitUsage, []string{"expected SERVER"}},
		{"drain a.kv --undo --wait", exitUsage, []string{"expected one of them"}},
		{"servers --nonsense", exitUsage, []string{"unknown flag: --nonsense; see shardmanager servers --help"}},
		{"servers --watch=1ms", exitUsage, []string{"--watch: expected 100ms or more, not 1ms"}},
		{"status -o wide", exitUsage, []string{`--output: expected table or json or yaml, not "wide"`}},
		{"status --admin nonsense", exitUsage, []string{"--admin", "expected host:port"}},
		{"agent drain --socket nonsense", exitUsage, []string{"--socket", "unix:///path"}},
		{"agent status --socket nonsense", exitUsage, []string{"--socket", "unix:///path"}},
		{"app create", exitUsage, []string{"expected -f FILE"}},
		{"app create -f " + spec, exitUsage, []string{spec + ":3: key_space.range: not supported yet"}},
		{"app create -f /does/not/exist", exitUsage, []string{"/does/not/exist: no such file"}},
		{"dev --scenario nonsense", exitUsage, []string{`scenario "nonsense": expected drain, `}},
		{"store extra", exitUsage, []string{`unexpected argument "extra"`}},
		{"store --max-bytes 7", exitUsage, []string{"--max-bytes: max_bytes: expected 0"}},
		{"store --max-bytes many", exitUsage, []string{`--max-bytes: max_bytes: expected a whole number, not "many"`}},
		{"store --log-level loud", exitUsage, []string{`--log-level: log_level: expected debug, info, warn or error, not "loud"`}},
		{"store --admin-listen nonsense", exitUsage, []string{`--admin-listen: admin_listen: address "nonsense": expected host:port`, "choose another address, or none"}},
		{"store --admin-listen 127.0.0.1:70000", exitUsage, []string{"--admin-listen: admin_listen: address \"127.0.0.1:70000\": expected a port of 0 to 65535"}},
		{"agent --cluster c --admin-listen nonsense", exitUsage, []string{`--admin-listen: admin_listen: address "nonsense": expected host:port`, "choose another address, or none"}},
		{"allocator --cluster a --name b --state-dir /x --admin-listen nonsense", exitUsage, []string{`--admin-listen: allocator: admin_listen: address "nonsense": expected host:port`, "choose another address"}},
		{"store --listen nonsense", exitFailure, []string{"expected host:port"}},
		{"agent --config " + bad, exitUsage, []string{bad + ":3: lease.validty: unknown field; did you mean validity?"}},
		{"agent --config " + slow, exitUsage, []string{slow + ":4: lease_validity: 100ms: expected at least twice lease_interval"}},
		{"agent --allocators a:1", exitUsage, []string{"cluster:", "(set it by --cluster, SHARDMANAGER_CLUSTER or cluster in the file)"}},
		{"agent --cluster c --tracing-endpoint a:4318 --tracing-sample-ratio 7", exitUsage, []string{"--tracing-endpoint: tracing_endpoint: expected a URL", "--tracing-sample-ratio: tracing_sample_ratio: expected 0"}},
		{"allocator --cluster c --tracing-sample-ratio much", exitUsage, []string{"--tracing-sample-ratio: tracing_sample_ratio: expected a number such as 0.5, not \"much\""}},
		{"agent --cluster a --allocators a:1 --store etcd", exitUsage, []string{"--store: store:", "embedded or consul"}},
		{"agent --cluster a --allocators a:1 --store consul --consul-addresses nowhere", exitUsage, []string{"--consul-addresses: consul_addresses[0]", "host:port"}},
		{"agent --cluster a --allocators a:1 --store-address nonsense", exitUsage, []string{"--store-address:", "expected host:port"}},
		{"agent --cluster a --allocators a:1 --gossip-listen nonsense", exitUsage, []string{`--gossip-listen: gossip_listen: expected host:port, not "nonsense"`}},
		{"agent --cluster a --allocators a:1 --gossip-join a:7430", exitUsage, []string{"gossip_listen: expected host:port", "SHARDMANAGER_GOSSIP_LISTEN"}},
		{"allocator --cluster a --name b --state-dir /x --gossip-listen 127.0.0.1:0 --gossip-key-file /no/keys", exitUsage, []string{"--gossip-key-file: gossip_key_file: ", "/no/keys"}},
		{"allocator --cluster a --name b", exitUsage, []string{"state_dir: expected a directory", "--state-dir"}},
		{"allocator --cluster a --name b --state-dir /x --lease-validity 1s", exitUsage, []string{"--lease-validity: allocator: settings: lease_validity: expected at least twice lease_interval"}},
		{"allocator --cluster a --name b --state-dir /x --store etcd", exitUsage, []string{"--store: store: expected embedded or consul"}},
		{"allocator --cluster a --name b --state-dir /x --store consul --consul-token a --consul-token-file b", exitUsage, []string{"--consul-token: consul_token: expected"}},
		{"nomad-controller --nomad-address 10.0.0.1:4646", exitUsage, []string{"--nomad-address: nomad_address: expected http://host:port"}},
		{"nomad-controller --admin nonsense --down-for 1s", exitUsage, []string{"--admin: admin[0]", "--down-for: down_for: expected 1m to 24h, not 1s"}},
		{"nomad-controller --nomad-address https://a:1 --nomad-ca-file /does/not/exist", exitUsage, []string{"nomad_ca_file: open /does/not/exist"}},
		{"nomad-controller --admin-listen nonsense", exitUsage, []string{`--admin-listen: admin_listen: address "nonsense": expected host:port`}},
		{"status --admin 127.0.0.1:1", exitFailure, []string{"cannot reach allocator 127.0.0.1:1", "refused", "--admin or SHARDMANAGER_ADMIN"}},
		{"agent status --socket unix:///does/not/exist", exitFailure, []string{"cannot reach the agent at unix:///does/not/exist", "start it with"}},
	} {
		t.Run(test.line, func(t *testing.T) {
			code, out, errs := shell(t, strings.Fields(test.line)...)
			if code != test.code || out != "" {
				t.Errorf("exit %d, stdout %q, want exit %d and nothing", code, out, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(errs, want) {
					t.Errorf("stderr %q lacks %q", errs, want)
				}
			}
			for line := range strings.Lines(errs) {
				if !strings.HasPrefix(line, "shardmanager") {
					t.Errorf("line %q does not say who speaks", line)
				}
			}
		})
	}
}

func TestSettingsFromEnvironment(t *testing.T) {
	t.Setenv("SHARDMANAGER_ADMIN", "127.0.0.1:2")
	if code, _, errs := shell(t, "status"); code != exitFailure || !strings.Contains(errs, "127.0.0.1:2") {
		t.Errorf("SHARDMANAGER_ADMIN: exit %d, %q", code, errs)
	}
	t.Setenv("SHARDMANAGER_CONFIG", write(t, "store.yaml", "listn: x\n"))
	if code, _, errs := shell(t, "store"); code != exitUsage || !strings.Contains(errs, "store.yaml:1: listn: unknown field; did you mean listen?") {
		t.Errorf("SHARDMANAGER_CONFIG: exit %d, %q", code, errs)
	}
}

// Every command explains itself, and every setting of a daemon has a flag with help.
func TestHelp(t *testing.T) {
	count := 0
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		count++
		path := strings.Fields(c.CommandPath())[1:]
		code, out, errs := shell(t, append(path, "--help")...)
		if code != exitOK || errs != "" || !strings.Contains(out, "Usage:") || c.Short == "" {
			t.Errorf("%v: exit %d, stderr %q, short %q, help %q", path, code, errs, c.Short, out)
		}
		if c.Runnable() && len(c.Commands()) == 0 && c.Name() != "dev" && !strings.Contains(out, "Examples:") {
			t.Errorf("%v: help without an example", path)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(rootCommand())
	if count < 20 {
		t.Errorf("only %d commands were looked at", count)
	}
	_, out, _ := shell(t, "allocator", "--help")
	for _, flag := range []string{"--lease-validity", "--partition-grace", "--store-address", "--config", "--log-format"} {
		if !strings.Contains(out, flag) {
			t.Errorf("help of the allocator lacks %s", flag)
		}
	}
	if strings.Contains(out, "unsafe-fence-wait") {
		t.Error("help of the allocator shows a hidden flag")
	}
	if _, out, _ := shell(t, "agent", "--help"); strings.Contains(out, "unsafe-clock-ppm") {
		t.Error("help of the agent shows a hidden flag")
	}
	_, out, _ = shell(t, "--help")
	if strings.Contains(out, "example-kv") {
		t.Error("help shows the hidden example")
	}
}

func TestVersion(t *testing.T) {
	for _, how := range []string{"version", "--version"} {
		if code, out, _ := shell(t, how); code != exitOK || !strings.HasPrefix(out, "shardmanager ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: exit %d, %q", how, code, out)
		}
	}
	built := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}}
	released := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}
	for _, test := range []struct {
		set   string
		info  *debug.BuildInfo
		known bool
		want  string
	}{
		{"v9", released, true, "v9"}, {"", released, true, "v1.2.3"}, {"", built, true, "devel-0123456789ab+changes"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, true, "devel"}, {"", nil, false, "unknown"},
	} {
		if got := versionOf(test.set, test.info, test.known); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}
