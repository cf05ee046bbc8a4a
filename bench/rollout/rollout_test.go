package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/fleet"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

// dir is where the binary is built, once for all tests.
var dir string

var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(dir, "shardmanager")
	said, err := exec.Command("go", "build", "-o", path, "./cmd/shardmanager").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return path, err
})

// TestMain lets this program be a server of the experiments, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serve {
		if err := fleet.Serve(os.Args[2]); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	if dir, err = os.MkdirTemp("", "rollout-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// small is an experiment with few servers and short times. Deadlines are those of a machine that is busy with other tests.
func small(t *testing.T) config {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a cluster")
	}
	t.Chdir("../..")
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	c := config{binary: binary, out: t.TempDir(), servers: 4, shards: 32, rate: 50, keys: 200, startUp: time.Second, deadline: 10 * time.Second, steady: 2 * time.Second, requests: 1, profile: "fast",
		crashes: 8 * time.Second, changes: 12 * time.Second, progress: t.Output()}
	return c
}

// written sees that an experiment left its data and its plot.
func written(t *testing.T, c config, name string) {
	t.Helper()
	for _, ext := range []string{".csv", ".png"} {
		info, err := os.Stat(filepath.Join(c.out, name+ext))
		if err != nil || info.Size() < 100 {
			t.Errorf("%s: %v", name+ext, err)
		}
	}
}

// A rolling upgrade with graceful moves fails nothing, keeps the cap and moves each shard; plain restarts fail something.
func TestUpgrade(t *testing.T) {
	c := small(t)
	c.variants = []string{"graceful"}
	result, err := measure(t.Context(), "upgrade", c)
	if err != nil {
		t.Fatal(err)
	}
	written(t, c, "upgrade")
	u := result.(upgradeResult).Variants[0]
	if u.All.Requests == 0 || u.All.Failed > 0 || u.Lost > 0 || u.MostDown > u.Cap || u.MostDown == 0 || u.Shards != c.shards {
		t.Errorf("%+v", u)
	}
}

func TestRegion(t *testing.T) {
	c := small(t)
	c.servers, c.shards, c.dies, c.returns = 2, 100, 4*time.Second, 14*time.Second
	result, err := measure(t.Context(), "region", c)
	if err != nil {
		t.Fatal(err)
	}
	written(t, c, "region")
	if r := result.(regionResult); r.Preferring == 0 || r.Home < 0 || r.Whole < 0 || r.Lost > 0 || r.FailedHome > 0 || r.Before.Failed > 0 {
		t.Errorf("%+v", r)
	}
}

// While servers crash and leaders are killed caps hold, no two servers own a shard, and no write is lost: else it is an error.
func TestForcedOverlap(t *testing.T) {
	c := small(t)
	result, err := measure(t.Context(), "overlap", c)
	if err != nil {
		t.Fatal(err)
	}
	written(t, c, "overlap")
	if r := result.(forcedResult); r.Looks == 0 || r.Operations == 0 || r.Crashes+r.Leaders == 0 || r.MostPlanned == 0 {
		t.Errorf("%+v", r)
	}
}

// Caches that go along stay warm; those that begin empty do not.
func TestWarm(t *testing.T) {
	c := small(t)
	c.servers, c.keys = 3, 100
	result, err := measure(t.Context(), "warm", c)
	if err != nil {
		t.Fatal(err)
	}
	written(t, c, "warm")
	warm, cold := result.(warmResult).Handovers[0], result.(warmResult).Handovers[1]
	if warm.Failed+cold.Failed > 0 || warm.Worst < 90 || cold.During >= warm.During {
		t.Errorf("%+v\n%+v", warm, cold)
	}
}

func TestRequestsBySecond(t *testing.T) {
	const s, ms = int64(time.Second), int64(time.Millisecond)
	r := bySecond([]requests.Request{
		{Start: 9 * s, End: 9*s + 5*ms, Outcome: requests.OK}, {Start: 11 * s, End: 11*s + 7*ms, Outcome: requests.OK}, {Start: 11*s + 1, End: 13 * s, Outcome: requests.Failed},
	}, 10*s, every)
	success := r.success("x")
	if success.First != -1 || success.At(-1) != 100 || !math.IsNaN(success.At(0)) || success.At(1) != 50 {
		t.Errorf("%+v", success)
	}
	if c := r.sum(0, 2); c.Requests != 2 || c.Failed != 1 || c.Worst != 50 || c.P50 != 7 {
		t.Errorf("%+v", c)
	}
}

func TestUnknownNames(t *testing.T) {
	if _, err := measure(t.Context(), "upgrad", config{}); err == nil || !strings.Contains(err.Error(), "expected one of overlap, region, upgrade, warm") {
		t.Errorf("got %v", err)
	}
	if _, err := measure(t.Context(), "upgrade", config{variants: []string{"rough"}}); err == nil || !strings.Contains(err.Error(), "graceful") {
		t.Errorf("got %v", err)
	}
}
