// Package rss says how much memory a benchmark needed.
package rss

import (
	"os"
	"strconv"
	"strings"
)

// PeakMiB is the largest resident set of this process so far, in MiB, rounded up; 0 where the system does not say. It is the high-water mark of the
// program's own memory: what getrusage says is no less than the peak of whoever started it, such as the go command.
func PeakMiB() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return highWater(string(status))
}

func highWater(status string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return (kib + 1023) / 1024
		}
	}
	return 0
}
