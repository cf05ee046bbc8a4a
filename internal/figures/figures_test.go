package figures_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/figures"
	"github.com/shardmanager/shardmanager/internal/load"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestAmount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		metric string
		value  int64
		want   string
	}{
		{load.CPUMilli, 0, "0"},
		{load.CPUMilli, 420, "0.42"},
		{load.CPUMilli, 2000, "2"},
		{load.CPUMilli, 128_500, "128"},
		{load.MemoryBytes, 1023, "1023 B"},
		{load.MemoryBytes, 1 << 30, "1 GiB"},
		{load.DiskBytes, 1536 << 20, "1.5 GiB"},
		{load.DiskBytes, math.MaxInt64, "8 EiB"},
		{load.NetworkReceive, 100 << 10, "100 KiB/s"},
		{"shards", 1000, "1000"},
	} {
		if got := figures.Amount(c.metric, c.value); got != c.want {
			t.Errorf("%d %s: %q, expected %q", c.value, c.metric, got, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	u := &pb.HostUsage{
		Host: &pb.Resources{
			Used:  map[string]int64{load.CPUMilli: 250, load.MemoryBytes: 1 << 20, load.NetworkReceive: 5},
			Limit: map[string]int64{load.CPUMilli: 4000, load.DiskBytes: 1 << 40},
		},
		Cgroup: &pb.Resources{Used: map[string]int64{load.MemoryBytes: 3}, Limit: map[string]int64{load.MemoryBytes: 9}},
	}
	want := []string{"0.25 of 4", "1 MiB", "? of 1 TiB", "5 B/s", "-", "-", "3 B of 9 B"}
	if diff := cmp.Diff(want, figures.Usage(u)); diff != "" {
		t.Error(diff)
	}
	if got := figures.Usage(nil); len(got) != len(figures.UsageHeader()) || got[0] != "-" {
		t.Errorf("nothing known: %q", got)
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	if got := figures.Capacity(map[string]int64{"shards": 9, load.CPUMilli: 2000}); got != "cpu_milli=2000,shards=9" {
		t.Errorf("%q", got)
	}
	if got := figures.Capacity(nil); got != "-" {
		t.Errorf("none: %q", got)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]*pb.MoveStatus{
		"waits":                        {Detail: "waits"},
		"5 bytes received; waits":      {Detail: "waits", ProgressBytes: 5},
		"5 bytes of 9 received; waits": {Detail: "waits", ProgressBytes: 5, TotalBytes: 9},
	} {
		if got := figures.Progress(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
