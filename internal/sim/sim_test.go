package sim_test

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/sim"
)

// TestSeeds plays seeds of the size that docs/proof.md tells of: 9 servers, 64 shards, 5 minutes. SIM_SEEDS says how many.
func TestSeeds(t *testing.T) {
	n := uint64(200)
	if testing.Short() {
		n = 12
	}
	if text := os.Getenv("SIM_SEEDS"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SIM_SEEDS: %v", err)
		}
		n = given
	}
	var served, planned uint64
	err := sim.Sweep(context.Background(), sim.Options{Seed: 1}, n, runtime.GOMAXPROCS(0), func(r sim.Result) {
		for _, b := range r.Breaches {
			t.Errorf("seed %d: %s\nreplay: shardmanager sim --seed %d", r.Options.Seed, b, r.Options.Seed)
		}
		served += uint64(r.Served)
		if r.Planned {
			planned++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if served < 1000*n || planned == 0 {
		t.Errorf("%d seeds served %d requests, and in %d only planned events happened: they show nothing", n, served, planned)
	}
}

// TestSameRun: a seed is the same run, line by line.
func TestSameRun(t *testing.T) {
	play := func() string {
		var trace bytes.Buffer
		if _, err := sim.Run(sim.Options{Seed: 7, Duration: 3 * time.Minute, Trace: &trace}); err != nil {
			t.Fatal(err)
		}
		return trace.String()
	}
	first, second := strings.Split(play(), "\n"), strings.Split(play(), "\n")
	if len(first) < 500 {
		t.Errorf("only %d lines", len(first))
	}
	for i := range first {
		if i >= len(second) || first[i] != second[i] {
			t.Fatalf("line %d differs:\n%s\n%s", i, first[i], second[min(i, len(second)-1)])
		}
	}
}

func TestBadOptions(t *testing.T) {
	for field, o := range map[string]sim.Options{
		"servers": {Servers: 2}, "shards": {Shards: 9000}, "allocators": {Allocators: 10}, "clients": {Clients: -1}, "duration": {Duration: time.Minute},
	} {
		if _, err := sim.Run(o); err == nil || !strings.Contains(err.Error(), field+": expected") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
