// Package judge says what a scenario showed: it reads what the processes recorded and what their load generator counted, and names the
// promises that broke. It is a checker: it plays nothing, and evidence that is not enough to say is an error, not a success.
//
// Called by internal/dev, which plays.
package judge

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvload"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

// Result is what a scenario showed, one JSON object on one line.
type Result struct {
	Scenario     string `json:"scenario"`
	Store        string `json:"store"`
	Mode         string `json:"mode"`     // of the example
	Requests     int    `json:"requests"` // of the whole run
	Failed       int    `json:"failed"`   // errors after the Router's retries
	FailedReads  int    `json:"failed_reads"`
	FailedWrites int    `json:"failed_writes"`
	// Latencies from the first event to 1 s after the last, counted from the instant at which a request was due; before: of the 10 s
	// before the first event.
	P50MS       float64 `json:"p50_ms"`
	P99MS       float64 `json:"p99_ms"`
	P99BeforeMS float64 `json:"p99_before_ms"`
	// From the loss of an owner to the first acknowledged request at the new one, the worst of its shards: the worst of the trials, and
	// their 99th percentile. Null where no owner is lost.
	FailoverMS    *float64 `json:"failover_ms"`
	FailoverP99MS *float64 `json:"failover_p99_ms"`
	// From an event to what it must lead to, where a scenario waits for that, the worst of the trials. Null elsewhere.
	SettledMS  *float64 `json:"settled_ms"`
	Trials     int      `json:"trials"`
	Moves      int      `json:"moves"`
	OverlapMS  int64    `json:"overlap_ms"`
	LostWrites int64    `json:"lost_writes"`
	OK         bool     `json:"ok"`
}

// String writes the result as its line of JSON.
func (r Result) String() string {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Sprintf(`{"scenario":%q,"ok":false}`, r.Scenario) // it cannot happen: all fields are plain and finite
	}
	return string(line)
}

// Expected is what must hold in a scenario.
type Expected struct {
	Scenario string
	Store    string
	Mode     string // of the example
	Planned  bool   // an operator's or deployer's doing, or none that a client may notice: not one request may fail
	Open     bool   // a person ends it at any moment: there may be no request around its events
	// Failover bounds the time from the loss of an owner to the first acknowledged request at the new one; 0: nobody is lost, nothing is
	// measured.
	Failover time.Duration
}

// Evidence is all that a scenario is judged by. Instants are CLOCK_MONOTONIC_RAW, in nanoseconds.
type Evidence struct {
	Requests    []requests.Request
	Histories   []overlap.History
	Kills       []overlap.Kill
	Trials      []Trial
	Played      int   // how often the events were repeated
	First, Last int64 // instants of the first and last event; 0: none
	Moves       int
	Load        kvload.Line // the last one
	// Broken lists promises that whoever played saw broken; Settled how long what was waited for took.
	Broken  []string
	Settled []time.Duration
	// Spared are shards that nobody could serve, by id and index: requests for them may fail, and nobody has to take them over.
	Spared map[string]uint32
}

// Trial is one loss of an owner: its process, and the instant just before the signal.
type Trial struct {
	Process overlap.Process
	At      int64
}

// Windows around the events, in which latencies are compared.
const (
	Steady = 10 * time.Second // of load before the first event
	After  = time.Second      // of load after the last event
)

// Judge evaluates a scenario. broken lists the promises that were broken, for people; an error means that the Evidence is not enough to say.
func Judge(x Expected, e Evidence) (r Result, broken []string, err error) {
	report, err := overlap.Analyse(e.Histories, e.Kills)
	if err != nil {
		return r, nil, fmt.Errorf("judge %s: %w", x.Scenario, err)
	}
	r = Result{
		Scenario: x.Scenario, Store: x.Store, Mode: x.Mode, Trials: e.Played, Moves: e.Moves, OverlapMS: report.OverlapMS(), LostWrites: e.Load.LostWrites,
	}
	if err := r.latencies(e); err != nil && !(x.Open && errors.Is(err, requests.ErrNoData)) {
		return r, nil, fmt.Errorf("judge %s: %w", x.Scenario, err)
	}
	if len(e.Settled) > 0 {
		worst := milliseconds(slices.Max(e.Settled))
		r.SettledMS = &worst
	}
	broken = slices.Concat(e.Broken, promises(x, r, e), overlaps(report))
	if x.Failover > 0 {
		late, err := r.failovers(report, e, x.Failover)
		if err != nil {
			return r, nil, fmt.Errorf("judge %s: %w", x.Scenario, err)
		}
		broken = append(broken, late...)
	}
	r.OK = len(broken) == 0
	return r, broken, nil
}

func (r *Result) latencies(e Evidence) error {
	all, err := requests.Window(e.Requests, math.MinInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	r.Requests, r.Failed, r.FailedReads, r.FailedWrites = all.Requests, all.Failed, all.FailedReads, all.FailedWrites
	if e.First == 0 {
		return fmt.Errorf("nothing happened: %w", requests.ErrNoData)
	}
	during, err := requests.Window(e.Requests, e.First, e.Last+int64(After))
	if err != nil {
		return err
	}
	before, err := requests.Window(e.Requests, e.First-int64(Steady), e.First)
	if err != nil {
		return err
	}
	r.P50MS, r.P99MS, r.P99BeforeMS = milliseconds(during.P50), milliseconds(during.P99), milliseconds(before.P99)
	return nil
}

// promises checks what needs no histories.
func promises(x Expected, r Result, e Evidence) []string {
	var broken []string
	if failed := r.Failed - failedFor(e.Requests, e.Spared); x.Planned && failed > 0 {
		broken = append(broken, fmt.Sprintf("%d of %d requests failed (in all %d reads, %d writes) although none had to", failed, r.Requests, r.FailedReads, r.FailedWrites))
	}
	for _, v := range []struct {
		count int64
		what  string
	}{
		{e.Load.LostWrites, "acknowledged writes were lost"},
		{e.Load.RepeatedWrites, "writes were applied twice or after they were refused"},
		{e.Load.StaleReads, "reads were older than what was known before them"},
		{e.Load.UnverifiedKeys, "keys could not be read back at the end"},
	} {
		if v.count > 0 {
			broken = append(broken, fmt.Sprintf("%d %s", v.count, v.what))
		}
	}
	return broken
}

// failedFor counts the failed requests for some shards.
func failedFor(all []requests.Request, shards map[string]uint32) int {
	failed := 0
	for _, r := range all {
		for _, index := range shards {
			if r.Shard == index && r.Outcome == requests.Failed {
				failed++
			}
		}
	}
	return failed
}

// shownOverlaps is how many overlaps are told in full.
const shownOverlaps = 3

func overlaps(report *overlap.Report) []string {
	if report.Count == 0 {
		return nil
	}
	broken := []string{fmt.Sprintf("two servers owned a shard at once %d times, for %v in sum", report.Count, report.Overlap)}
	for _, o := range report.Overlaps[:min(shownOverlaps, len(report.Overlaps))] {
		broken = append(broken, o.String())
	}
	return broken
}

// failovers measures each trial by its slowest shard, from the histories of those who took over.
func (r *Result) failovers(report *overlap.Report, e Evidence, limit time.Duration) (broken []string, err error) {
	var worsts []time.Duration
	for i, t := range e.Trials {
		list, err := report.Failovers(t.Process, t.At)
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w", i+1, err)
		}
		worst := time.Duration(0)
		for _, f := range list {
			if _, spared := e.Spared[f.Shard]; spared {
				continue
			}
			if f.Lost() {
				broken = append(broken, fmt.Sprintf("trial %d: shard %s was never served again", i+1, f.Shard))
			}
			worst = max(worst, f.Took)
		}
		worsts = append(worsts, worst)
	}
	p99, err := requests.Percentile(worsts, 99)
	if err != nil {
		return nil, err
	}
	worst, err := requests.Percentile(worsts, 100)
	if err != nil {
		return nil, err
	}
	worstMS, p99MS := milliseconds(worst), milliseconds(p99)
	r.FailoverMS, r.FailoverP99MS = &worstMS, &p99MS
	if p99 >= limit {
		broken = append(broken, fmt.Sprintf("failover took %.0f ms (p99 of %d trials), expected less than %v", p99MS, len(e.Trials), limit))
	}
	return broken, nil
}

// milliseconds with three digits behind the point.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
