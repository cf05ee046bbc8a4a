package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unrun is commands of documents that are not run here, why, and which test of this tree runs them, or does what they do.
type unrun struct {
	why      string
	test     string // "": none
	commands []string
}

var notRun = []unrun{
	{"the cluster that all others are typed to is started so, with flags more", "TestDocumentedCommands", []string{
		"shardmanager dev", "shardmanager dev --no-tour", "shardmanager dev --store consul", "shardmanager dev --mode primary-secondary", "shardmanager dev --rate 1",
	}},
	{"a scenario takes a cluster of its own, and minutes", "TestDrainDropsNothing", []string{
		"shardmanager dev --scenario NAME --json", "shardmanager dev --scenario NAME",
	}},
	{"every scenario, for hours: each has tests of its own", "TestNoClientNotices", []string{
		"make build && .bin/shardmanager dev --scenario all --json > 1.json", "make build && .bin/shardmanager dev --scenario all --store consul --json",
	}},
	{"what make test does, of which this test is a part", "", []string{
		"go test -p 4 -timeout 20m ./internal/coord/consul $(go list ./... | grep -v /e2e)", "bash .ci/run", "go test -race",
	}},
	{"it takes a package with scenarios, whose outputs it writes anew", "TestScenarios", []string{"go test ./<package> -rewrite"}},
	{"it takes a systemd that runs the machine; TestUnits runs what the units say", "TestUnits", []string{
		"sudo systemctl enable --now consul", "sudo systemctl restart systemd-logind", "sudo systemctl daemon-reload",
		"sudo systemctl enable --now shardmanager-allocator", "sudo systemctl enable --now shardmanager-agent kv",
		"systemctl enable --now shardmanager-app@orders", "systemctl stop shardmanager-agent", "systemctl reload shardmanager-agent", "systemctl restart kv",
		"systemctl restart shardmanager-allocator", "systemctl stop shardmanager-allocator", "systemctl status shardmanager-agent", "journalctl -u",
	}},
	{"it takes a Nomad; its files are the job's", "TestNomadRunsTheExample", []string{
		"nomad job run", "nomad job run deploy/nomad/allocators.nomad.hcl", "nomad job run deploy/nomad/kv.nomad.hcl",
		"nomad job run -var release=2 deploy/nomad/kv.nomad.hcl", "nomad alloc stop ALLOCATION", "nomad alloc stop", "nomad service info shardmanager-admin",
	}},
	{"it takes a Nomad", "TestNomadController", []string{
		"nomad job run deploy/nomad/controller.nomad.hcl", "nomad job run -var controller=true deploy/nomad/kv.nomad.hcl", "nomad node drain -enable -yes NODE",
	}},
	{"it takes a Nomad; what the agent does on SIGUSR2 is tested", "TestAgentUpgrade", []string{"nomad alloc signal -s SIGUSR2 -task agent ALLOCATION"}},
	{"it takes a Nomad, and is Nomad's own", "", []string{"nomad alloc restart", "nomad deployment fail", "nomad alloc logs -stderr ALLOCATION TASK"}},
	{"the Consul of `shardmanager dev` answers no DNS; what is in its catalog is asked for by HTTP", "TestDaemonsInTheCatalog", []string{
		"dig @127.0.0.1 -p 8600 leader.shardmanager-allocator.service.consul SRV", "dig @127.0.0.1 -p 8600 app-kv.shardmanager-agent.service.consul",
	}},
	{"it takes everything that Consul keeps back", "TestConsulIsTakenBack", []string{"consul snapshot restore"}},
	{"words about a program of the system", "", []string{"kill -9", "ip netns list", "ip netns delete", "curl -L"}},
	{"it changes the machine; the files that it installs are checked", "TestUnitsRunWhatThereIs", []string{
		"sudo install -m 755 shardmanager /usr/local/bin/",
		"sudo useradd --system --no-create-home --shell /usr/sbin/nologin shardmanager",
		"sudo mkdir -p /etc/shardmanager",
		"sudo cp deploy/systemd/*.service /etc/systemd/system/",
		"sudo install -D -m 644 deploy/systemd/logind.conf /etc/systemd/logind.conf.d/shardmanager.conf",
		"sudo cp deploy/systemd/allocator.yaml deploy/systemd/agent.yaml /etc/shardmanager/",
		"echo LISTEN=10.0.0.1:9000 | sudo tee /etc/shardmanager/kv.env",
	}},
}

// testsThatExist are the names of all tests of the tree.
func testsThatExist(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
