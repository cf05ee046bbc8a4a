package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestUsageRoundTrip(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]load.Usage{
		"none": {},
		"host": {Host: load.Resources{Used: map[string]int64{load.CPUMilli: 0, load.MemoryBytes: 7}, Limit: map[string]int64{load.CPUMilli: 2000}}},
		"both": {Host: load.Resources{Limit: map[string]int64{load.DiskBytes: 9}}, Cgroup: load.Resources{Used: map[string]int64{load.CPUMilli: 10}}},
	} {
		p := wire.UsageToProto(u)
		if (p == nil) != (name == "none") {
			t.Errorf("%s: message %v", name, p)
		}
		if diff := cmp.Diff(u, wire.UsageFromProto(p)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestUsageLeavesOutWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	many := map[string]int64{}
	for i := range 100 {
		many[fmt.Sprintf("m%03d", i)] = 1
	}
	got := wire.UsageFromProto(&pb.HostUsage{
		Host:   &pb.Resources{Used: map[string]int64{"a": -1, "": 2, strings.Repeat("x", 65): 3, "b": 4}},
		Cgroup: &pb.Resources{Limit: many},
	})
	if diff := cmp.Diff(map[string]int64{"b": 4}, got.Host.Used); diff != "" {
		t.Error(diff)
	}
	if _, last := got.Cgroup.Limit["m031"]; len(got.Cgroup.Limit) != 32 || !last {
		t.Errorf("%d metrics of 100: %v", len(got.Cgroup.Limit), got.Cgroup.Limit)
	}
}
