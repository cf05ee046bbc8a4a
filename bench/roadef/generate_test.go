package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/run"
)

// TestGenerated: what is made up can be read, is feasible at first, has everything that an instance can have, and is the same for a seed.
func TestGenerated(t *testing.T) {
	var model, initial, again bytes.Buffer
	z, err := sized(300, 40)
	if err != nil {
		t.Fatal(err)
	}
	if err := generate(z, 1, &model, &initial); err != nil {
		t.Fatal(err)
	}
	if err := generate(z, 1, &again, &bytes.Buffer{}); err != nil || !bytes.Equal(model.Bytes(), again.Bytes()) {
		t.Errorf("the second time it differs: %v", err)
	}
	m, a := files(t, model.String(), initial.String())
	in, err := readModel(m)
	if err != nil {
		t.Fatal(err)
	}
	spreads := 0
	for _, least := range in.spreadMin {
		spreads += min(least, 1)
	}
	if in.processes != 300 || in.machines != 40 || in.resources != 20 || len(in.balances) != 10 || len(in.depends) == 0 || spreads == 0 {
		t.Errorf("%d processes, %d machines, %d resources, %d balances, %d dependencies, %d spreads", in.processes, in.machines, in.resources, len(in.balances), len(in.depends), spreads)
	}
	r, err := solve(m, a, filepath.Join(t.TempDir(), "solution"), time.Second, run.Config{Seed: 1, Workers: 1, Explore: true, Steps: 20_000})
	if err != nil || r.Violations != 0 || r.Cost >= r.Initial {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestGenerateRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := generateFiles(0, 5, 1, filepath.Join(dir, "m"), filepath.Join(dir, "i")); err == nil {
		t.Error("no processes")
	}
	if err := generateFiles(5, 5, 1, filepath.Join(dir, "none", "m"), filepath.Join(dir, "i")); !os.IsNotExist(err) {
		t.Errorf("no folder: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	if p, m, err := parseSize("50000x5000"); p != 50_000 || m != 5_000 || err != nil {
		t.Error(p, m, err)
	}
	for _, bad := range []string{"", "5", "5x", "x5", "5x5x5", "-1x5", "5x5 "} {
		if _, _, err := parseSize(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
