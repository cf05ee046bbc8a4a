package kvload

import (
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	var h histogram
	if p := h.percentile(99); p != 0 {
		t.Errorf("percentile of nothing: %v", p)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, p := range []uint64{1, 50, 99, 100} {
		exact := all[(uint64(len(all))*p+99)/100-1].Truncate(time.Microsecond)
		if got := h.percentile(p); got < exact || got > exact+exact/64+time.Microsecond {
			t.Errorf("percentile %d: %v, exactly %v", p, got, exact)
		}
	}
	var sum histogram
	sum.merge(&h)
	sum.merge(&h)
	if sum.total != 2*h.total || sum.percentile(50) != h.percentile(50) {
		t.Error("merging a histogram with itself changes its percentiles")
	}
}

func TestBucketsAreInOrder(t *testing.T) {
	last := -1
	for us := int64(0); us < 1<<33; us += 1 + us/100 {
		d := time.Duration(us) * time.Microsecond
		b := bucketOf(d)
		if b < last || b >= bucketCount {
			t.Fatalf("%v is in bucket %d, after %d", d, b, last)
		}
		if b < bucketCount-1 && (highest(b) < d || bucketOf(highest(b)) != b) {
			t.Fatalf("%v is in bucket %d, whose highest is %v", d, b, highest(b))
		}
		last = b
	}
	if bucketOf(-time.Second) != 0 {
		t.Error("a negative latency")
	}
}

func TestConfigIsRefused(t *testing.T) {
	good := Default()
	good.Agent = "unix:///a"
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*Config){
		"agent":       func(c *Config) { c.Agent = "" },
		"rate":        func(c *Config) { c.Rate = 0 },
		"keys":        func(c *Config) { c.Keys = maxKeys + 1 },
		"write-ratio": func(c *Config) { c.WriteRatio = 1.5 },
		"deadline":    func(c *Config) { c.Deadline = 0 },
		"duration":    func(c *Config) { c.Duration = -1 },
	} {
		bad := good
		spoil(&bad)
		if err := Run(t.Context(), bad, io.Discard, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), field) || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%s: error %v, want one that names the field and what is expected", field, err)
		}
	}
}

func TestLineIsFlat(t *testing.T) {
	text, err := json.Marshal(Line{Counts: Counts{Requests: 5}, violationCounts: violationCounts{StaleReads: 3}})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"final", "requests", "failed", "failed_reads", "failed_writes", "p50_ms", "p99_ms", "lost_writes", "repeated_writes",
		"stale_reads", "map_version", "in_flight", "second", "verified_keys", "unverified_keys"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("no field %s in %s", name, text)
		}
	}
	if fields["requests"] != 5.0 || fields["stale_reads"] != 3.0 {
		t.Errorf("%s", text)
	}
}
