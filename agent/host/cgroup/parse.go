package cgroup

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/shardmanager/shardmanager/internal/load"
)

const (
	// defaultPeriod is the kernel's period of a CPU quota, in µs.
	defaultPeriod = 100_000
	// unlimitedMemory is where version 1 begins to mean "no limit": it writes the largest multiple of a page.
	unlimitedMemory = 1 << 60
)

// number reads an integer of 0 and more; what is too large for an int64 becomes the largest.
func number(text string) (int64, error) {
	text = strings.TrimSpace(text)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: expected a number", text)
	}
	return int64(min(n, math.MaxInt64)), nil
}

// parseMemoryMax reads memory.max (version 2): `max`, or bytes. 0: no limit.
func parseMemoryMax(text string) (int64, error) {
	if strings.TrimSpace(text) == "max" {
		return 0, nil
	}
	n, err := number(text)
	return max(n, 1), err
}

// parseMemoryLimit reads memory.limit_in_bytes (version 1).
func parseMemoryLimit(text string) (int64, error) {
	n, err := number(text)
	if n >= unlimitedMemory {
		return 0, err
	}
	return max(n, 1), err
}

// parseCPUMax reads cpu.max (version 2): a quota or `max`, then the period, both in µs. The answer is in thousandths of a core; 0: no limit.
func parseCPUMax(text string) (int64, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > 2 {
		return 0, fmt.Errorf("%q: expected a quota and a period", strings.TrimSpace(text))
	}
	if fields[0] == "max" {
		return 0, nil
	}
	period := "100000"
	if len(fields) == 2 {
		period = fields[1]
	}
	return parseQuota(fields[0], period)
}

// parseQuota reads cpu.cfs_quota_us and cpu.cfs_period_us (version 1), in thousandths of a core; 0: no limit.
func parseQuota(quota, period string) (int64, error) {
	if strings.HasPrefix(strings.TrimSpace(quota), "-") {
		return 0, nil
	}
	q, err := number(quota)
	if err != nil {
		return 0, err
	}
	p, err := number(period)
	if err != nil {
		return 0, err
	}
	if p == 0 {
		p = defaultPeriod
	}
	return max(load.MulDiv(q, 1000, p), 1), nil
}

// field finds the value of a key in a file of `key value` lines; false if it is not there.
func field(text, key string) (int64, bool, error) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, " ")
		if ok && name == key {
			n, err := number(value)
			return n, err == nil, err
		}
	}
	return 0, false, nil
}
