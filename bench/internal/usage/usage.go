// Package usage says what another process uses, for benchmarks that start one.
package usage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Sizes are the sizes of a process, in MiB, by the names of /proc/PID/status: VmRSS, VmHWM (the largest VmRSS so far) and others.
func Sizes(pid int) (map[string]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	sizes := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if kib, ok := strings.CutSuffix(strings.TrimSpace(value), " kB"); ok {
			n, err := strconv.ParseFloat(kib, 64)
			if err != nil {
				return nil, err
			}
			sizes[name] = n / 1024
		}
	}
	return sizes, nil
}

// ticksPerSecond is the kernel's USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// CPUTime is the processor time that a process has used.
func CPUTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
