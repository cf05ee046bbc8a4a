package rss

import (
	"os"
	"testing"
)

func TestPeakHasWhatWasTouched(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the system does not say")
	}
	before := PeakMiB()
	page := make([]byte, 64<<20)
	for i := 0; i < len(page); i += 4096 {
		page[i] = byte(i >> 12)
	}
	if after := PeakMiB(); before < 1 || after < 64 || after > before+64+64 {
		t.Errorf("%d MiB, and %d MiB after 64 MiB were written: %d", before, after, page[8192])
	}
}

func TestHighWater(t *testing.T) {
	for status, want := range map[string]int64{
		"Name:\tx\nVmHWM:\t    1025 kB\nVmRSS:\t 900 kB\n": 2, "VmHWM:\t    1024 kB\n": 1, "VmHWM: lots\n": 0, "Name:\tx\n": 0,
	} {
		if got := highWater(status); got != want {
			t.Errorf("%q: %d MiB, not %d", status, got, want)
		}
	}
}
