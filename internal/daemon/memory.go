package daemon

import (
	"os"
	"runtime/debug"
)

// allocatorGC is how much an allocator's heap may grow between two collections, in percent. Most of it is the state of all shards, which
// stays: Go's 100 would double that. docs/benchmarks.md has the sizes with both.
const allocatorGC = 50

// SaveMemory collects garbage of an allocator earlier than Go does by itself, unless the environment's GOGC says how.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(allocatorGC)
	}
}
