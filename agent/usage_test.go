package agent_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/load"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// TestUsageIsTold: a leader hears what was measured once a sample, a new stream at once, and whoever asks the agent.
func TestUsageIsTold(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	run(t, cfg, store)
	app := application0(t, cfg.Socket)
	app.registered(t)
	whole := func(u *pb.HostUsage) bool {
		used, limit := u.GetHost().GetUsed(), u.GetHost().GetLimit()
		_, cpu := used[load.CPUMilli]
		return cpu && limit[load.CPUMilli] >= 1000 && used[load.MemoryBytes] > 0 && limit[load.MemoryBytes] > used[load.MemoryBytes] && used[load.DiskBytes] > 0
	}
	l.find("usage of CPU, memory and disk", func(m *pb.AttachRequest) bool { return whole(m.GetRenew().GetUsage()) })
	renewals, told := 0, 0
	l.set(func() {
		renewals = l.renewals
		for _, m := range l.heard {
			if m.GetRenew().GetUsage() != nil {
				told++
			}
		}
		l.heard = nil
	})
	if told == 0 || told > renewals*2/3 {
		t.Errorf("%d of %d renewals tell usage, expected some: one for a sample", told, renewals)
	}
	l.resetAll()
	l.find("usage on the next stream", func(m *pb.AttachRequest) bool { return whole(m.GetRenew().GetUsage()) })
	status, err := app.agent.Status(context.Background(), &pb.StatusRequest{})
	if err != nil || len(status.GetServers()) != 1 || !whole(status.GetServers()[0].GetUsage()) || !whole(status.GetUsage()) || status.GetGoroutines() == 0 {
		t.Errorf("status %v, %v", status, err)
	}
}

// TestCapacityMeasured: what the application states wins over the configuration, and that over what is measured.
func TestCapacityMeasured(t *testing.T) {
	t.Parallel()
	store, l := memory(t), newLeader(t, 7)
	cfg := config(t, l)
	cfg.Capacity, cfg.CapacityMeasured = map[string]int64{"shards": 9, load.CPUMilli: 700}, []string{load.CPUMilli, load.MemoryBytes}
	run(t, cfg, store)
	app := application0(t, cfg.Socket)
	app.registered(t)
	_, record, _ := keyOf(t, store, "a.kv")
	got := record.GetServer().GetCapacity()
	if got[load.MemoryBytes] < 1<<20 {
		t.Errorf("memory %d", got[load.MemoryBytes])
	}
	want := map[string]int64{"shards": 9, load.CPUMilli: 700, load.MemoryBytes: got[load.MemoryBytes]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("of an application that states none: %s", diff)
	}
	eventually(t, "the leader to hear of it", func() bool { return maps.Equal(l.helloOf().GetServer().GetCapacity(), want) })

	other := app.request()
	other.App, other.Capacity = "stated", map[string]int64{load.MemoryBytes: 77}
	if _, err := app.agent.Register(context.Background(), other); err != nil {
		t.Fatal(err)
	}
	_, record, _ = keyOf(t, store, "a.stated")
	got = record.GetServer().GetCapacity()
	if keys := slices.Sorted(maps.Keys(got)); got[load.MemoryBytes] != 77 || got[load.CPUMilli] < 10 || len(keys) != 2 {
		t.Errorf("of one that states memory: %v", got)
	}
}

func TestDiskIsChecked(t *testing.T) {
	t.Parallel()
	cfg := config(t, newLeader(t, 7))
	cfg.Disk = "/nowhere"
	if err := run(t, cfg, memory(t)).wait(); err == nil || !strings.Contains(err.Error(), "disk: ") || !strings.Contains(err.Error(), "name a directory") {
		t.Errorf("error %v", err)
	}
}
