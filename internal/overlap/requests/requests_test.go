package requests

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLogAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{Start: -5, End: 1 << 60, Shard: 95, Kind: Read, Outcome: OK},
		{Start: 7, End: 7, Shard: 0, Kind: Write, Outcome: Failed},
		{Start: 8, End: 9, Shard: 1<<32 - 1, Kind: Write, Outcome: Wrong},
	}
	for _, r := range want {
		if err := l.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("while it is written: %v %s", err, diff)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err = ReadFile(path); err != nil || len(got) != 2 {
		t.Errorf("torn: %d requests, %v", len(got), err)
	}
	damaged := append([]byte(nil), whole...)
	damaged[recordSize+20] = 77
	for name, content := range map[string]string{"damaged": string(damaged), "something else": strings.Repeat("text", 20), "empty": ""} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with the path", name, err)
		}
	}
}

func TestLogIsBoundedAndSafe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	l.left = 1000 * recordSize
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range int64(250) {
				if err := l.Add(Request{Start: i, End: i, Kind: Read, Outcome: OK}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := l.Add(Request{}); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path); err != nil || len(got) != 1000 {
		t.Errorf("%d requests, %v", len(got), err)
	}
	if err := os.Truncate(path, MaxFileBytes); err != nil { // sparse
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, ErrFull) {
		t.Errorf("a full log: %v", err)
	}
}

func TestWindow(t *testing.T) {
	var all []Request
	for i := range int64(200) { // request i is due at i and takes 1000-i
		r := Request{Start: i, End: 1000, Kind: Read, Outcome: OK}
		switch {
		case i == 50:
			r.Outcome = Failed
		case i == 51 || i == 52:
			r.Outcome, r.Kind = Failed, Write
		case i == 53:
			r.Outcome = Wrong
		}
		all = append(all, r)
	}
	got, err := Window(all, 0, 100)
	want := Summary{Requests: 100, Failed: 3, FailedReads: 1, FailedWrites: 2, Wrong: 1, P50: 950, P99: 999, Max: 1000}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	got, err = Window(all, 199, 200)
	if diff := cmp.Diff(Summary{Requests: 1, P50: 801, P99: 801, Max: 801}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, w := range [][2]int64{{200, 300}, {5, 5}} {
		if _, err := Window(all, w[0], w[1]); !errors.Is(err, ErrNoData) {
			t.Errorf("window %v: %v, want ErrNoData", w, err)
		}
	}
}

func TestPercentile(t *testing.T) {
	durations := []time.Duration{5, 1, 4, 2, 3}
	for p, want := range map[int]time.Duration{1: 1, 20: 1, 21: 2, 50: 3, 99: 5, 100: 5} {
		if got, err := Percentile(durations, p); err != nil || got != want {
			t.Errorf("percentile %d: %v, %v; want %v", p, got, err, want)
		}
	}
	if durations[0] != 5 {
		t.Error("the caller's slice was sorted")
	}
	if _, err := Percentile(nil, 99); !errors.Is(err, ErrNoData) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := Percentile(durations, 0); err == nil {
		t.Error("percentile 0 was computed")
	}
}
