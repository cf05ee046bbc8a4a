package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// onConsul is the arguments of a run on a real Consul.
func onConsul(servers string) []string {
	return []string{"--store", "consul", "--consul-servers", servers}
}

// The promises hold on Consul as on the embedded store: planned changes drop nothing, and crashes hand over in time.
func TestPromisesHoldOnConsul(t *testing.T) {
	t.Setenv(consulserver.BinaryVariable, consultest.Binary(t))
	for _, c := range []struct{ scenario, rate, servers string }{
		{"drain", light, "1"},
		{"crash", dense, "1"},
		{"leader-pause", light, "3"},
	} {
		t.Run(c.scenario, func(t *testing.T) {
			o := play(t, c.scenario, c.rate, onConsul(c.servers)...)
			if r := o.result; o.status != 0 || !r.OK || r.Store != "consul" || r.OverlapMS != 0 || r.LostWrites != 0 {
				t.Errorf("status %d, result %s\n%s", o.status, r, o.progress)
			}
		})
	}
}

// Without a Consul, the demo says where to get one.
func TestConsulThatIsNotThereIsExplained(t *testing.T) {
	t.Parallel()
	for says, variables := range map[string][]string{
		"make consul":         {"PATH=/nonexistent", consulserver.BinaryVariable + "="},
		"/nonexistent/consul": {consulserver.BinaryVariable + "=/nonexistent/consul"},
	} {
		cmd := exec.Command(binary, "dev", "--scenario", "drain", "--store", "consul")
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), variables...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) || !strings.Contains(string(out), consulserver.BinaryVariable) {
			t.Errorf("%v: %v, %q; expected a refusal that says %q", variables, err, out, says)
		}
	}
}
