package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/consulserver"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
)

// A few faults on a whole cluster, of a seed whose faults are short: it starts, is judged, and leaves nothing broken.
func TestAFewFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a cluster")
	}
	t.Setenv(consulserver.BinaryVariable, consultest.Binary(t))
	t.Chdir("../..")
	binary := filepath.Join(t.TempDir(), "shardmanager")
	if said, err := exec.Command("go", "build", "-o", binary, "./cmd/shardmanager").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	var line bytes.Buffer
	err := measure(t.Context(), config{
		binary: binary, length: 9 * time.Second, every: 1500 * time.Millisecond, seed: 8824, mode: layout.PrimaryOnly, profile: "fast", rate: 100, deadline: 10 * time.Second,
		out: &line, progress: t.Output(),
	})
	var p report
	if broken := json.Unmarshal(line.Bytes(), &p); err != nil || broken != nil {
		t.Fatalf("%v, %v: %s", err, broken, line.String())
	}
	if !p.OK || p.Seed != 8824 || p.Faults < 3 || len(p.Kinds) == 0 || p.Requests < 1000 || p.VerifiedKeys == 0 || len(p.Processes) < 15 {
		t.Errorf("%+v", p)
	}
}
