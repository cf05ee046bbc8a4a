package embedded

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// locksFile lists every lock on the machine: `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`.
const locksFile = "/proc/locks"

// holderOfFile names the process that holds the lock on a file, for people.
func holderOfFile(path string) string {
	const unknown = "another process"
	info, err := os.Stat(path)
	if err != nil {
		return unknown
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	locks, err := os.ReadFile(locksFile)
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(locks)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], fmt.Sprintf(":%d", stat.Ino)) {
			continue
		}
		name, err := os.ReadFile("/proc/" + fields[4] + "/comm")
		if err != nil {
			return "process " + fields[4]
		}
		return fmt.Sprintf("process %s (%s)", fields[4], strings.TrimSpace(string(name)))
	}
	return unknown
}
