package overlap

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// life makes the history of one process, opened at 0, whose lease was extended at 0 to the given end.
func life(pid int, leaseEnd int64, records ...Record) History {
	named := Record{Kind: ServerNamed, Name: "s" + string(rune('0'+pid)), Term: uint64(pid)}
	lease := Record{Kind: LeaseExtended, At: 0, End: leaseEnd}
	return History{Process: Process{File: "h", PID: pid}, Records: append([]Record{named, lease}, records...)}
}

func activated(term uint64, at int64) Record {
	return Record{Kind: Activated, Name: "7", Term: term, At: at}
}
func released(term uint64, at int64) Record {
	return Record{Kind: Released, Name: "7", Term: term, At: at}
}
func extended(at, end int64) Record { return Record{Kind: LeaseExtended, At: at, End: end} }
func revoked(at int64) Record       { return Record{Kind: LeaseRevoked, At: at} }
func operated(term uint64, start, end int64) Record {
	return Record{Kind: Operation, Name: "7", Term: term, At: start, End: end}
}

// ran is an operation on another shard, so that there is something to judge.
var ran = Record{Kind: Operation, Name: "8", Term: 1, At: 1, End: 2}

func TestAnalyse(t *testing.T) {
	cases := []struct {
		name      string
		histories []History
		kills     []Kill
		want      time.Duration
		count     int
	}{
		{"handed over in a move", []History{life(1, 100, activated(1, 10), operated(1, 11, 19), released(1, 20)), life(2, 100, activated(2, 21), operated(2, 22, 30))}, nil, 0, 0},
		{"touching", []History{life(1, 100, activated(1, 10), released(1, 20)), life(2, 100, activated(2, 20), ran)}, nil, 0, 0},
		{"released one late", []History{life(1, 100, activated(1, 10), released(1, 21)), life(2, 100, activated(2, 20), ran)}, nil, 1, 1},
		{"never released", []History{life(1, 100, activated(1, 10)), life(2, 200, activated(2, 20), ran)}, nil, 80, 1},
		{"two shards do not meet", []History{life(1, 100, activated(1, 10)), life(2, 100, Record{Kind: Activated, Name: "8", Term: 1, At: 20}, ran)}, nil, 0, 0},
		{"lease ran out at the instant of the next owner", []History{life(1, 50, activated(1, 10)), life(2, 200, activated(2, 50), ran)}, nil, 0, 0},
		{"lease extended past the next owner", []History{life(1, 50, activated(1, 10), extended(40, 60)), life(2, 200, activated(2, 50), ran)}, nil, 10, 1},
		{"an extension never shortens", []History{life(1, 50, activated(1, 10), extended(40, 45)), life(2, 200, activated(2, 48), ran)}, nil, 2, 1},
		{"lease resumed after it ran out", []History{life(1, 50, activated(1, 10), extended(90, 95)), life(2, 70, activated(2, 60), ran), life(3, 200, activated(3, 94))}, nil, 1, 1},
		{"stopped and continued: an old answer extends to the past", []History{life(1, 50, activated(1, 10), extended(90, 56)), life(2, 200, activated(2, 51), operated(2, 60, 95))}, nil, 0, 0},
		{"stopped and continued: an operation passes wrongly", []History{life(1, 50, activated(1, 10), operated(1, 45, 91)), life(2, 200, activated(2, 51), ran)}, nil, 40, 1},
		{"operation against operation", []History{life(1, 50, operated(1, 45, 91)), life(2, 60, activated(2, 51), operated(2, 80, 85))}, nil, 14, 2},
		{"operation of no length inside", []History{life(1, 100, activated(1, 10)), life(2, 100, operated(2, 20, 20))}, nil, 1, 1},
		{"operation of no length at the end", []History{life(1, 20, activated(1, 10)), life(2, 100, operated(2, 20, 20))}, nil, 0, 0},
		{"revoked", []History{life(1, 100, activated(1, 10), revoked(30)), life(2, 200, activated(2, 30), ran)}, nil, 0, 0},
		{"revoked, then extended again without a release", []History{life(1, 100, activated(1, 10), revoked(30), extended(40, 50)), life(2, 200, activated(2, 30), ran)}, nil, 10, 1},
		{"killed", []History{life(1, 100, activated(1, 10)), life(2, 200, activated(2, 31), ran)}, []Kill{{Process{PID: 1}, 30}}, 0, 0},
		{"killed late", []History{life(1, 100, activated(1, 10)), life(2, 200, activated(2, 31), ran)}, []Kill{{Process{PID: 1}, 33}}, 2, 1},
		{"killed twice: the first counts", []History{life(1, 100, activated(1, 10)), life(2, 200, activated(2, 31), ran)}, []Kill{{Process{PID: 1}, 30}, {Process{PID: 1}, 40}}, 0, 0},
		{"killed after the lease ended", []History{life(1, 30, activated(1, 10)), life(2, 200, activated(2, 31), ran)}, []Kill{{Process{PID: 1}, 90}}, 0, 0},
		{"a kill does not excuse an operation", []History{life(1, 100, activated(1, 10), operated(1, 20, 40)), life(2, 200, activated(2, 31), ran)}, []Kill{{Process{PID: 1}, 30}}, 9, 1},
		{"released at an older term", []History{life(1, 100, activated(3, 10), released(2, 20)), life(2, 200, activated(4, 90), ran)}, nil, 10, 1},
		{"released at a newer term", []History{life(1, 100, activated(3, 10), released(4, 20)), life(2, 200, activated(4, 90), ran)}, nil, 0, 0},
		{"activated twice at one term", []History{life(1, 100, activated(3, 10), activated(3, 50), released(3, 60)), life(2, 40, activated(2, 30), ran)}, nil, 10, 1},
		{"a new incarnation of the process holds nothing", []History{life(1, 100, activated(3, 10), Record{Kind: ServerNamed, Name: "s1", Term: 9, At: 40}), life(2, 200, activated(4, 40), ran)}, nil, 0, 0},
		{"two incarnations of one process never meet", []History{life(1, 100, activated(3, 10), Record{Kind: ServerNamed, Name: "s1", Term: 9, At: 40}, activated(5, 30), ran)}, nil, 0, 0},
		{"two processes of one server", []History{life(1, 100, activated(3, 10)), life(1, 100, activated(4, 90), ran)}, nil, 10, 1},
		{"closed", []History{life(1, 100, activated(1, 10), Record{Kind: ProcessClosed, At: 25}), life(2, 200, activated(2, 25), ran)}, nil, 0, 0},
		{"three at once count once", []History{life(1, 100, activated(1, 10)), life(2, 50, activated(2, 40), ran), life(3, 60, activated(3, 45))}, nil, 20, 3},
		{"no lease, no owner", []History{life(1, 0, activated(1, 10)), life(2, 100, activated(2, 20), ran)}, nil, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, histories := range [][]History{c.histories, reversed(c.histories)} {
				r, err := Analyse(histories, c.kills)
				if err != nil {
					t.Fatal(err)
				}
				if r.Overlap != c.want || r.Count != c.count || len(r.Overlaps) != c.count {
					t.Errorf("overlap %d in %d pairs, want %d in %d: %v", r.Overlap, r.Count, c.want, c.count, r.Overlaps)
				}
			}
		})
	}
}

func reversed(h []History) []History {
	h = slices.Clone(h)
	slices.Reverse(h)
	return h
}

func TestAnalyseRefuses(t *testing.T) {
	owner, op := life(1, 100, activated(1, 10)), life(2, 100, ran)
	cases := []struct {
		name      string
		histories []History
		kills     []Kill
		want      string
	}{
		{"nothing", nil, nil, "no data"},
		{"no operation", []History{owner}, nil, "no data"},
		{"no owner", []History{op}, nil, "no data"},
		{"kill of nobody", []History{owner, op}, []Kill{{Process{PID: 9}, 5}}, "pid 9"},
		{"kill before its start", []History{owner, op}, []Kill{{Process{PID: 1}, -5}}, "begun before -5"},
		{"kill without a name", []History{owner, op}, []Kill{{Process{}, 5}}, "no data"},
		{"full", []History{owner, life(2, 100, ran, Record{Kind: FileFull, At: 70})}, nil, "full since 70"},
		{"operation backwards", []History{owner, life(2, 100, operated(2, 9, 8))}, nil, "before its start"},
		{"unknown kind", []History{owner, life(2, 100, ran, Record{Kind: 99})}, nil, "unknown kind of record 99"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Analyse(c.histories, c.kills)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if strings.Contains(c.want, "no data") && !errors.Is(err, ErrNoData) {
				t.Errorf("error %v is not ErrNoData", err)
			}
		})
	}
}

func TestReportNamesBothSides(t *testing.T) {
	r, err := Analyse([]History{life(1, 5_000_000, activated(3, 10)), life(2, 5_000_000, activated(4, 20), ran)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Overlap{{
		Shard: "7", Start: 20, End: 5_000_000,
		A: Claim{Kind: Owner, Process: Process{"h", 1}, Server: "s1", Incarnation: 1, Term: 3, Start: 10, End: 5_000_000},
		B: Claim{Kind: Owner, Process: Process{"h", 2}, Server: "s2", Incarnation: 2, Term: 4, Start: 20, End: 5_000_000},
	}}
	if diff := cmp.Diff(want, r.Overlaps); diff != "" {
		t.Error(diff)
	}
	if r.OverlapMS() != 5 || r.Owners != 2 || r.Operations != 1 || r.Shards != 2 || r.Processes != 2 {
		t.Errorf("ms %d, counts %+v", r.OverlapMS(), r)
	}
	if one := (&Report{Overlap: 1}).OverlapMS(); one != 1 {
		t.Errorf("one nanosecond is %d ms: an overlap must not round to none", one)
	}
}

func TestFailovers(t *testing.T) {
	owned := func(id string, at int64) Record { return Record{Kind: Activated, Name: id, Term: 1, At: at} }
	op := func(id string, start, end int64) Record {
		return Record{Kind: Operation, Name: id, Term: 2, At: start, End: end}
	}
	histories := []History{
		life(1, 1000, owned("1", 10), owned("2", 10), owned("3", 10), owned("4", 10),
			Record{Kind: Released, Name: "4", Term: 1, At: 90}, op("1", 20, 21), op("1", 101, 102)),
		life(2, 1000, op("1", 2, 9), owned("4", 92), owned("1", 140), owned("2", 150), op("1", 160, 190), op("1", 165, 170), op("2", 155, 156), op("4", 95, 150)),
	}
	r, err := Analyse(histories, []Kill{{Process{PID: 1}, 100}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Failovers(Process{PID: 1}, 100)
	if err != nil {
		t.Fatal(err)
	}
	want := []Failover{{"1", "s2", 170, 70}, {"2", "s2", 156, 56}, {Shard: "3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got[2].Lost() || got[0].Lost() {
		t.Error("shard 3 alone is lost")
	}
	if _, err := r.Failovers(Process{PID: 2}, 5); !errors.Is(err, ErrNoData) {
		t.Errorf("a process that owned nothing: %v", err)
	}
	for _, c := range []struct {
		at   int64
		want map[string]string
	}{
		{9, map[string]string{}},
		{50, map[string]string{"1": "s1", "2": "s1", "3": "s1", "4": "s1"}},
		{91, map[string]string{"1": "s1", "2": "s1", "3": "s1"}},
		{145, map[string]string{"1": "s2", "4": "s2"}},
		{1001, map[string]string{}},
	} {
		servers := map[string]string{}
		for id, claim := range r.OwnersAt(c.at) {
			servers[id] = claim.Server
		}
		if diff := cmp.Diff(c.want, servers); diff != "" {
			t.Errorf("owners at %d: %s", c.at, diff)
		}
	}
}
