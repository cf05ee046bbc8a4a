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

func read(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("clock: the kernel lacks clock " + string('0'+id) + ": " + err.Error())
	}
	return ts.Nano()
}
