package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/run"
)

// FuzzModel: whatever is in the files, it is refused by its file's name, or a problem that can be worked on; and what is read takes
// memory by what is there, not by what is announced.
func FuzzModel(f *testing.F) {
	f.Add(tinyModel, tinyInitial)
	f.Add("0 0 0 0 0 1 1 1", "")
	f.Add("1000"+strings.Repeat(" 1 1", 1000)+" 0 1 0 0 1000000 0", "0")
	f.Add("1 0 1 1000000 0 0 1 1 1", "")
	f.Fuzz(func(t *testing.T, model, initial string) {
		dir := t.TempDir()
		m, a := filepath.Join(dir, "model.txt"), filepath.Join(dir, "assignment.txt")
		for path, text := range map[string]string{m: model, a: initial} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		in, err := readModel(m)
		runtime.ReadMemStats(&after)
		if took, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+200*len(model)); took > most {
			t.Fatalf("%d bytes took %d to read, at most %d are due", len(model), took, most)
		}
		if err != nil {
			if !strings.Contains(err.Error(), m) {
				t.Fatalf("an error without its file: %v", err)
			}
			return
		}
		if in.machines > 64 || in.processes > 256 || in.services > 256 {
			return // sound, and more work than a fuzz test has time for
		}
		if r, err := solve(m, a, "", time.Second, run.Config{Seed: 1, Workers: 1, Steps: 100}); err == nil && (r.Violations != 0 || r.Cost > r.Initial) {
			t.Fatalf("%+v", r)
		}
	})
}
