package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/bench/soak/vitals"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

// asked is a read of a shard, in seconds.
func asked(shard uint32, start, end float64, o requests.Outcome) requests.Request {
	return requests.Request{Start: int64(start * 1e9), End: int64(end * 1e9), Shard: shard, Kind: requests.Read, Outcome: o}
}

// A shard is served again with the first answer to what was asked after the fault, whichever request that is.
func TestUnserved(t *testing.T) {
	t.Parallel()
	a := newAnswers([]requests.Request{
		asked(1, 9.9, 10.1, requests.OK), asked(1, 10.2, 12.2, requests.Failed), asked(1, 10.3, 13, requests.OK), asked(1, 12.7, 12.8, requests.OK),
		asked(2, 10.5, 10.6, requests.OK),
		asked(3, 1, 2, requests.OK), asked(3, 11, 21, requests.Failed),
	})
	for _, c := range []struct {
		shards  []uint32
		worst   time.Duration
		missing int
	}{
		{[]uint32{1}, 2800 * time.Millisecond, 0},
		{[]uint32{2}, 600 * time.Millisecond, 0},
		{[]uint32{1, 2}, 2800 * time.Millisecond, 0},
		{[]uint32{2, 3}, 600 * time.Millisecond, 1},
	} {
		worst, missing := a.after(&event{At: 10e9, Shards: c.shards})
		if worst != c.worst || missing != c.missing {
			t.Errorf("%v: %v, %d missing, expected %v, %d", c.shards, worst, missing, c.worst, c.missing)
		}
	}
}

// Each promise that can break is named.
func TestWhatBreaksIsNamed(t *testing.T) {
	t.Parallel()
	list := []requests.Request{asked(1, 10, 11, requests.Failed), asked(1, 20, 21, requests.Failed), asked(1, 200, 201, requests.OK)}
	p := &report{Planned: map[string]int{}}
	p.planned([]window{{Kind: "drain", From: 9e9, To: 12e9, Load: 3}, {Kind: "drain", From: 19e9, To: 22e9, Load: overloaded}, {Kind: "replace server", From: 30e9, To: 40e9}}, list)
	if want := []string{"planned: drain dropped 1 requests"}; !cmp.Equal(p.Broken, want) || p.FailedInPlanned != 2 || p.Planned["drain"] != 2 {
		t.Errorf("%q, %+v", p.Broken, p)
	}
	p = &report{}
	p.faults([]*event{
		{Kind: "kill leader", At: 1e9, Recovered: 3e9}, {Kind: "kill leader"},
		{Kind: "kill application", Victim: "node-1", At: 5e9, Recovered: 6e9, Shards: []uint32{1}},
		{Kind: "kill application", Victim: "node-2", At: 5e9, Recovered: 6e9, Shards: []uint32{9}},
	}, newAnswers(list))
	if len(p.Broken) != 2 || !strings.Contains(p.Broken[0], "node-1, 0 shards were never served again, others after 196.0 s") || !strings.Contains(p.Broken[1], "node-2, 1 shards") {
		t.Errorf("%q", p.Broken)
	}
	want := []row{
		{"kill application", 2, spread{2, 0, 196_000, 196_000}, spread{2, 1000, 1000, 1000}},
		{"kill leader", 1, spread{}, spread{1, 2000, 2000, 2000}},
	}
	if diff := cmp.Diff(want, p.Kinds); diff != "" {
		t.Error(diff)
	}
}

// Who grows is named, once it has lived for long enough; connections of the load generator's pools are no leak.
func TestLeaksAreNamed(t *testing.T) {
	t.Parallel()
	var log vitals.Log
	for name, length := range map[string]int{"allocator-1": 200, "node-1-agent": 100, "node-1-app": 200} {
		for i := range length {
			log.Add(name, 1, time.Duration(i)*sampleEvery, vitals.Sample{vitals.RSS: 50_000, vitals.Goroutines: -1, vitals.Threads: 9, vitals.Descriptors: int64(20 + i)})
		}
	}
	p := &report{}
	p.processes(log.Longest())
	if len(p.Broken) != 1 || !strings.HasPrefix(p.Broken[0], "allocator-1 grows: descriptors") || len(p.Processes) != 3 {
		t.Errorf("%q, %d processes", p.Broken, len(p.Processes))
	}
	var line, tables bytes.Buffer
	if err := p.write(&line, &tables); err != nil {
		t.Fatal(err)
	}
	var read report
	if err := json.Unmarshal(line.Bytes(), &read); err != nil || read.OK || strings.Count(line.String(), "\n") != 1 {
		t.Errorf("%v: %s", err, line.String())
	}
	for _, text := range []string{"FAULT", "LONGEST LIFE", "48 → 48", "BROKEN: allocator-1 grows"} {
		if !strings.Contains(tables.String(), text) {
			t.Errorf("no %q in:\n%s", text, tables.String())
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	good := config{length: 1, every: 1, mode: "primary-only", rate: 1}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*config){
		"-t": func(c *config) { c.length = 0 }, "-every": func(c *config) { c.every = 0 }, "-mode": func(c *config) { c.mode = "both" }, "-rate": func(c *config) { c.rate = 0 },
	} {
		c := good
		change(&c)
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
