// Package clock reads the two clocks of a shard.Instant, and waits. Only shells call it; the cores take instants as arguments.
package clock

import (
	"golang.org/x/sys/unix"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Now reads CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW.
func Now() shard.Instant {
	return shard.Instant{Boot: read(unix.CLOCK_BOOTTIME), Raw: read(unix.CLOCK_MONOTONIC_RAW)}
}

// Skewed reads clocks that run fast by so many parts in a million, or slow if that is negative, as those of a machine with a bad oscillator.
func Skewed(ppm int64) func() shard.Instant {
	const million = 1_000_000 // taken apart, so that no uptime overflows
	skew := func(ns int64) int64 { return ns + ns/million*ppm + ns%million*ppm/million }
	return func() shard.Instant {
		now := Now()
		return shard.Instant{Boot: skew(now.Boot), Raw: skew(now.Raw)}
	}
}

func read(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock: the kernel lacks clock " + string('0'+id) + ": " + err.Error())
	}
	return ts.Nano()
}
