package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/run"
)

// Two resources, the first of them transient; three machines in two neighborhoods; three services, of which the last depends on the first;
// four processes, the first two on the first machine.
const (
	tinyModel = `2  1 10  0 5
3
0 0  20 20  5 5  0 1 2
0 1  20 20  5 5  1 0 2
1 2  20 20  5 5  2 2 0
3
2 0
1 0
1 1 0
4
0 4 4 1
0 4 4 1
1 6 6 2
2 1 1 1
1
0 1 1 3
1 1 1
`
	tinyInitial = "0 1 0 0"
)

func files(t *testing.T, model, initial string) (string, string) {
	t.Helper()
	dir := t.TempDir()
	m, a := filepath.Join(dir, "model_tiny.txt"), filepath.Join(dir, "assignment_tiny.txt")
	for path, text := range map[string]string{m: model, a: initial} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m, a
}

func TestTinyInstance(t *testing.T) {
	m, a := files(t, tinyModel, tinyInitial)
	out := filepath.Join(t.TempDir(), "solution")
	r, err := solve(m, a, out, time.Second, run.Config{Seed: 1, Workers: 2, Explore: true, Steps: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	// At first machine 0 has 11 of each resource: 6 above safety, for 10 and 5 each.
	if r.Initial != 90 || r.Bound > r.Cost || r.Cost >= r.Initial || r.Violations != 0 || r.Moves == 0 {
		t.Errorf("%+v", r)
	}
	written, err := os.ReadFile(out)
	if err != nil || len(strings.Fields(string(written))) != 4 {
		t.Errorf("solution %q: %v", written, err)
	}
	in, err := readModel(m)
	if err != nil {
		t.Fatal(err)
	}
	best := bestOf(in, []int32{0, 1, 0, 0})
	if r.Cost != best {
		t.Errorf("cost %d, the best of all assignments costs %d", r.Cost, best)
	}
}

// bestOf tries all assignments of four processes.
func bestOf(in *instance, initial []int32) int64 {
	best, _ := in.score(initial, initial)
	for n := range 81 {
		places := []int32{int32(n % 3), int32(n / 3 % 3), int32(n / 9 % 3), int32(n / 27)}
		if cost, violations := in.score(initial, places); violations == 0 {
			best = min(best, cost)
		}
	}
	return best
}

func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct{ model, initial, says string }{
		"ends early":          {"2 1 10", tinyInitial, "ends before number 4, a transient flag"},
		"a word":              {"2 1 x", tinyInitial, "number 3, a load weight: expected an unsigned integer"},
		"negative":            {"2 1 -10", tinyInitial, "number 3, a load weight: expected an unsigned integer"},
		"flag of 2":           {"2 2 10", tinyInitial, "number 2, a transient flag: 2 is not below 2"},
		"too large":           {"2 1 4294967296", tinyInitial, "number 3, a load weight: 4294967296 is not below 4294967296"},
		"more than due":       {tinyModel + " 1", tinyInitial, "something follows the last number"},
		"unknown machine":     {tinyModel, "0 1 0 3", "number 4, a machine: 3 is not below 3"},
		"too few processes":   {tinyModel, "0 1 0", "ends before number 4, a machine"},
		"not feasible":        {tinyModel, "0 0 0 0", "breaks 2 constraints"},
		"not feasible either": {tinyModel, "0 1 0 2", "breaks 1 constraints"},
	} {
		t.Run(name, func(t *testing.T) {
			m, a := files(t, c.model, c.initial)
			if _, err := solve(m, a, "", time.Second, run.Config{Steps: 1}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, expected %q", err, c.says)
			}
		})
	}
}
