// Package mutation breaks the cores on purpose, one defect at a time, to show that the simulator's checkers find each (docs/proof.md). A defect
// is a change of a source file's text that is given to the compiler in place of the file: nothing of it is in the tree, or in any other build.
//
// Called by its tests and by `make mutations`. A defect that no checker finds is a checker that is missing.
package mutation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Mutation is a deliberate defect.
type Mutation struct {
	Name     string // says what is done wrong
	Rule     string // of PROTOCOL or promise that it breaks
	File     string // from the root of the tree
	From, To string // From is in the file exactly once
	Promises []int  // that may be found broken by it, any of them
}

// Found is what became of one.
type Found struct {
	Played  int    // seeds
	Seed    uint64 // that broke a promise
	Promise int    // 0: none of the seeds broke one
	What    string
}

// Source is the file with the defect in it.
func (m Mutation) Source(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, fmt.Errorf("mutation %s: %w", m.Name, err)
	}
	if n := bytes.Count(source, []byte(m.From)); n != 1 {
		return nil, fmt.Errorf("mutation %s: %s has %d places like %q, expected 1: the code has changed, change the mutation too", m.Name, m.File, n, m.From)
	}
	return bytes.Replace(source, []byte(m.From), []byte(m.To), 1), nil
}

// Play builds the simulator with the defect, in a directory that exists, and plays seeds until one breaks a promise.
func (m Mutation) Play(ctx context.Context, root, dir string, seeds uint64, workers int) (Found, error) {
	source, err := m.Source(root)
	if err != nil {
		return Found{}, err
	}
	mutant, overlay, binary := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "play")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.File): mutant}})
	if err != nil {
		return Found{}, fmt.Errorf("mutation %s: %w", m.Name, err)
	}
	for name, contents := range map[string][]byte{mutant: source, overlay: replace} {
		if err := os.WriteFile(name, contents, 0o600); err != nil {
			return Found{}, fmt.Errorf("mutation %s: %w", m.Name, err)
		}
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary, "./internal/sim/mutation/play")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return Found{}, fmt.Errorf("mutation %s: build: %w: %s", m.Name, err, strings.TrimSpace(string(out)))
	}
	play := exec.CommandContext(ctx, binary, "-seeds", strconv.FormatUint(seeds, 10), "-workers", strconv.Itoa(workers))
	out, err := play.Output()
	if err != nil {
		if what := panicked(err); what != "" { // the defect broke the code's own assertions
			return Found{Promise: -1, What: what}, nil
		}
		return Found{}, fmt.Errorf("mutation %s: play: %w", m.Name, err)
	}
	var found Found
	if err := json.Unmarshal(out, &found); err != nil {
		return Found{}, fmt.Errorf("mutation %s: play: %w", m.Name, err)
	}
	return found, nil
}

// panicked is the first line of a panic; empty: the process ended otherwise.
func panicked(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return ""
	}
	for line := range strings.Lines(string(exit.Stderr)) {
		if strings.HasPrefix(line, "panic: ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
