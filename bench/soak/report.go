package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shardmanager/shardmanager/bench/soak/vitals"
	"github.com/shardmanager/shardmanager/internal/dev/judge"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

const (
	// stuckAfter is how long a shard may go unserved, whatever else happens meanwhile.
	stuckAfter = 90 * time.Second
	// overloaded is the load average from which requests may fail because nobody gets to run.
	overloaded = 10
	// warmUp of a process is not compared with what comes after it.
	warmUp = 90 * time.Second
	// judgedAfter is how long a process has to live for its trends to be judged: before, they are shown only.
	judgedAfter = 10 * time.Minute
	// pooled is how many connections the load generator keeps to one application, and so how many descriptors either may have more or less.
	pooled = 256
)

// spread is how a time is distributed, in milliseconds; counted are those that there are.
type spread struct {
	Counted int     `json:"counted"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
}

// row is what faults of one kind did.
type row struct {
	Kind   string `json:"kind"`
	Faults int    `json:"faults"`
	// Unserved is from the fault until every shard that the victim served had answered again, of faults that hit a server with shards.
	Unserved spread `json:"unserved_ms"`
	// Recovered is until the victim, or who took its place, was there again.
	Recovered spread `json:"recovered_ms"`
}

// life is what a process held.
type life struct {
	Name    string                  `json:"name"`
	Minutes float64                 `json:"minutes"`
	Trends  map[string]vitals.Trend `json:"trends"`
}

// report is the line of a run.
type report struct {
	Seed            uint64         `json:"seed"`
	Minutes         float64        `json:"minutes"`
	Mode            string         `json:"mode"`
	Profile         string         `json:"profile"`
	Faults          int            `json:"faults"`
	Planned         map[string]int `json:"planned_events"`
	Requests        int            `json:"requests"`
	Failed          int            `json:"failed"`
	FailedInPlanned int            `json:"failed_in_planned_events"`
	OverlapMS       int64          `json:"overlap_ms"`
	LostWrites      int64          `json:"lost_writes"`
	RepeatedWrites  int64          `json:"repeated_writes"`
	StaleReads      int64          `json:"stale_reads"`
	VerifiedKeys    int64          `json:"verified_keys"`
	Moves           int            `json:"moves"`
	LoadMost        float64        `json:"load_average_most"`
	Kinds           []row          `json:"kinds"`
	Processes       []life         `json:"processes"`
	Broken          []string       `json:"broken"`
	OK              bool           `json:"ok"`
}

// judge says what a run showed; every process has ended.
func (r *run) judge() (*report, error) {
	all, kills, err := r.histories()
	if err != nil {
		return nil, err
	}
	list, err := requests.ReadFile(r.places.Requests())
	if err != nil {
		return nil, err
	}
	line, _, _ := r.lines.Now()
	moves, _ := r.watch.Counted()
	// Whatever else happens, nothing is owned twice, lost, repeated or stale.
	result, broken, err := judge.Judge(judge.Expected{Scenario: "soak", Store: "consul", Mode: r.cfg.mode, Open: true}, judge.Evidence{
		Requests: list, Histories: all, Kills: kills, Played: len(r.events), First: r.first, Last: r.last, Moves: moves, Load: line, Broken: r.broken,
	})
	if err != nil {
		return nil, err
	}
	p := &report{
		Seed: r.cfg.seed, Minutes: time.Duration(r.last - r.first).Minutes(), Mode: r.cfg.mode, Profile: r.cfg.profile, Faults: len(r.events), Planned: map[string]int{},
		Requests: result.Requests, Failed: result.Failed, OverlapMS: result.OverlapMS, LostWrites: line.LostWrites, RepeatedWrites: line.RepeatedWrites,
		StaleReads: line.StaleReads, VerifiedKeys: line.VerifiedKeys, Moves: moves, LoadMost: r.loadMost, Broken: broken,
	}
	p.planned(r.windows, list)
	p.faults(r.events, newAnswers(list))
	p.processes(r.vitals.Longest())
	p.OK = len(p.Broken) == 0
	return p, nil
}

func (p *report) broke(format string, args ...any) {
	p.Broken = append(p.Broken, fmt.Sprintf(format, args...))
}

// planned counts what failed in planned events without faults.
func (p *report) planned(windows []window, list []requests.Request) {
	for _, w := range windows {
		p.Planned[w.Kind]++
		failed := 0
		for _, q := range list {
			if q.Start >= w.From && q.Start < w.To && q.Outcome != requests.OK {
				failed++
			}
		}
		p.FailedInPlanned += failed
		if failed > 0 && w.Load < overloaded {
			p.broke("planned: %s dropped %d requests", w.Kind, failed)
		}
	}
}

// faults sorts what happened by kind.
func (p *report) faults(events []*event, a *answers) {
	kinds := map[string][]*event{}
	for _, e := range events {
		if e.At != 0 {
			kinds[e.Kind] = append(kinds[e.Kind], e)
		}
	}
	for _, k := range kindNames() {
		var unserved, recovered []time.Duration
		for _, e := range kinds[k] {
			recovered = append(recovered, time.Duration(e.Recovered-e.At))
			if len(e.Shards) == 0 {
				continue
			}
			took, missing := a.after(e)
			unserved = append(unserved, took)
			if missing > 0 || took > stuckAfter {
				p.broke("stuck: after %s at %s, %d shards were never served again, others after %.1f s", e.Kind, e.Victim, missing, took.Seconds())
			}
		}
		if len(kinds[k]) > 0 {
			p.Kinds = append(p.Kinds, row{k, len(kinds[k]), spreadOf(unserved), spreadOf(recovered)})
		}
	}
}

func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func spreadOf(list []time.Duration) spread {
	s := spread{Counted: len(list)}
	for percent, of := range map[int]*float64{50: &s.P50, 99: &s.P99, 100: &s.Max} {
		if d, err := requests.Percentile(list, percent); err == nil {
			*of = float64(d.Milliseconds())
		}
	}
	return s
}

// answers are the requests that were answered, by shard, in the order in which they were due.
type answers struct{ of map[uint32][]requests.Request }

func newAnswers(list []requests.Request) *answers {
	a := &answers{of: map[uint32][]requests.Request{}}
	for _, q := range list {
		if q.Outcome == requests.OK {
			a.of[q.Shard] = append(a.of[q.Shard], q)
		}
	}
	for _, list := range a.of {
		slices.SortFunc(list, func(x, y requests.Request) int { return cmp.Compare(x.Start, y.Start) })
	}
	return a
}

// after is how long after a fault the last of the victim's shards first answered a request that came after it, and how many never did.
func (a *answers) after(e *event) (worst time.Duration, missing int) {
	for _, shard := range e.Shards {
		list := a.of[shard]
		from, _ := slices.BinarySearchFunc(list, e.At, func(q requests.Request, at int64) int { return cmp.Compare(q.Start, at) })
		if from == len(list) {
			missing++
			continue
		}
		first := list[from].End
		for _, q := range list[from:] {
			if q.Start > first {
				break
			}
			first = min(first, q.End)
		}
		worst = max(worst, time.Duration(first-e.At))
	}
	return worst, missing
}

// processes tells what leaks.
func (p *report) processes(lives []*vitals.Life) {
	for _, v := range lives {
		l := life{Name: v.Name, Minutes: (v.Ended - v.Began).Minutes(), Trends: map[string]vitals.Trend{}}
		for _, of := range []vitals.Vital{vitals.RSS, vitals.Goroutines, vitals.Threads, vitals.Descriptors} {
			t, ok := v.Trend(of, warmUp)
			if !ok {
				continue
			}
			l.Trends[of.String()] = t
			if v.Ended-v.Began >= judgedAfter && t.Grows(of, allowed(v.Name)) {
				p.broke("%s grows: %s from %d to %d in %.0f minutes", v.Name, of, t.First, t.Last, l.Minutes)
			}
		}
		p.Processes = append(p.Processes, l)
	}
}

// allowed is by how much a process may grow.
func allowed(name string) vitals.Sample {
	a := vitals.Allowed()
	if name == "load" || strings.HasSuffix(name, "-app") {
		a[vitals.Descriptors] = pooled
	}
	return a
}

// write prints the line for programs and the tables for people.
func (p *report) write(line, tables io.Writer) error {
	if err := json.NewEncoder(line).Encode(p); err != nil {
		return err
	}
	w := tabwriter.NewWriter(tables, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\nFAULT\tTIMES\tUNSERVED p50\tp99\tmax, ms\tRECOVERED p50\tp99\tmax, ms\t")
	for _, k := range p.Kinds {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t\n", k.Kind, k.Faults, k.Unserved, k.Recovered)
	}
	_ = w.Flush()
	w = tabwriter.NewWriter(tables, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\nLONGEST LIFE\tMINUTES\tMEMORY, MiB\tGOROUTINES\tTHREADS\tDESCRIPTORS\t")
	for _, l := range p.Processes {
		_, _ = fmt.Fprintf(w, "%s\t%.1f\t%s\t%s\t%s\t%s\t\n", l.Name, l.Minutes, l.trend(vitals.RSS, 1024), l.trend(vitals.Goroutines, 1), l.trend(vitals.Threads, 1), l.trend(vitals.Descriptors, 1))
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(tables, "\nseed %d, %.1f minutes, %d faults, planned events %v\n%d requests, %d failed, %d of them in planned events\n"+
		"overlap %d ms, %d writes lost, %d repeated, %d reads stale, %d keys read back, %d moves, load average up to %.1f\n",
		p.Seed, p.Minutes, p.Faults, p.Planned, p.Requests, p.Failed, p.FailedInPlanned,
		p.OverlapMS, p.LostWrites, p.RepeatedWrites, p.StaleReads, p.VerifiedKeys, p.Moves, p.LoadMost)
	for _, b := range p.Broken {
		_, _ = fmt.Fprintln(tables, "BROKEN:", b)
	}
	return nil
}

// String is a spread's cells.
func (s spread) String() string {
	if s.Counted == 0 {
		return "-\t-\t-"
	}
	return fmt.Sprintf("%.0f\t%.0f\t%.0f", s.P50, s.P99, s.Max)
}

func (l life) trend(of vitals.Vital, unit int64) string {
	t, ok := l.Trends[of.String()]
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%d → %d", t.First/unit, t.Last/unit)
}
