package mutation

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// TestMutationsApply: every defect fits the code as it is, and is Go.
func TestMutationsApply(t *testing.T) {
	all := All()
	if len(all) < 30 {
		t.Errorf("%d mutations, expected 30 or more", len(all))
	}
	names := map[string]bool{}
	for _, m := range all {
		if names[m.Name] || len(m.Promises) == 0 || m.Rule == "" {
			t.Errorf("%s: a name of its own, a rule and promises are needed", m.Name)
		}
		names[m.Name] = true
		source, err := m.Source(root)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, source, 0); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

// TestMutationsAreFound plays defects, each until a checker finds it: MUTATIONS=all plays all, a part of a name those that have it; without, a few.
func TestMutationsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("each builds the simulator anew")
	}
	some := []string{"no wait after a fence", "a grant does not raise the term", "caps on planned events count nobody", "a newcomer counts as in sync before the primary says so"}
	wanted := os.Getenv("MUTATIONS")
	directory, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range All() {
		switch {
		case wanted == "all":
		case wanted != "" && !strings.Contains(m.Name, wanted), wanted == "" && !slices.Contains(some, m.Name):
			continue
		}
		t.Run(strings.ReplaceAll(m.Name, " ", "-"), func(t *testing.T) {
			found, err := m.Play(t.Context(), directory, t.TempDir(), 1000, runtime.GOMAXPROCS(0))
			switch {
			case err != nil:
				t.Fatal(err)
			case found.Promise == 0:
				t.Errorf("%d seeds broke no promise: a checker is missing", found.Played)
			case found.Promise > 0 && !slices.Contains(m.Promises, found.Promise):
				t.Errorf("seed %d broke promise %d (%s), expected one of %v", found.Seed, found.Promise, found.What, m.Promises)
			}
			t.Logf("%-60s %-10s after %4d seeds, promise %d: %s", m.Name, m.Rule, found.Played, found.Promise, found.What)
		})
	}
}
