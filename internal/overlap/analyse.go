package overlap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// ErrNoData says that there was nothing to judge: no owner or no operation was recorded.
var ErrNoData = errors.New("no data to judge")

// MaxListed is how many overlaps a Report lists; all are counted.
const MaxListed = 100

// Kill is a process that was ended without a chance to record it.
type Kill struct {
	Process Process
	At      int64 // CLOCK_MONOTONIC_RAW, read just before the signal was sent
}

// Overlap is two claims of different processes on one shard that share the instants [Start, End).
type Overlap struct {
	Shard      string
	A, B       Claim
	Start, End int64
}

// String writes the overlap for people.
func (o Overlap) String() string {
	return fmt.Sprintf("shard %s: %v: %v and %v", o.Shard, time.Duration(o.End-o.Start), o.A, o.B)
}

// Report is what the histories of all processes say. Its methods answer questions about single instants.
type Report struct {
	// Overlap is the time in which a shard was claimed by two or more processes, summed over shards.
	Overlap time.Duration
	// Count is the number of overlapping pairs found, at least one for each claim that overlaps an earlier one of another process.
	Count int
	// Overlaps lists the first MaxListed pairs, by shard and start.
	Overlaps []Overlap
	// Owners, Operations, Shards and Processes count what was judged.
	Owners, Operations, Shards, Processes int

	histories []History
	lives     [][]identity
	claims    map[string][]claim // sorted by start
}

// OverlapMS is Overlap in milliseconds, rounded up: 0 means none at all.
func (r *Report) OverlapMS() int64 {
	return int64((r.Overlap + time.Millisecond - 1) / time.Millisecond)
}

// Analyse judges the histories of all processes of a run. Without a single owner or operation it fails with ErrNoData, and so it does
// if a kill matches no history.
func Analyse(histories []History, kills []Kill) (*Report, error) {
	r := &Report{Processes: len(histories), histories: histories, claims: map[string][]claim{}}
	ends := make([]int64, len(histories))
	for i := range ends {
		ends[i] = forever
	}
	for _, k := range kills {
		i, err := r.find(k.Process, k.At)
		if err != nil {
			return nil, fmt.Errorf("analyse: kill at %d: %w", k.At, err)
		}
		ends[i] = min(ends[i], k.At)
	}
	for i, h := range histories {
		lives, err := extract(i, h, ends[i], r.claims)
		if err != nil {
			return nil, fmt.Errorf("analyse: %w", err)
		}
		r.lives = append(r.lives, lives)
	}
	for _, id := range shard.SortedKeys(r.claims) {
		r.judge(id)
	}
	r.Shards = len(r.claims)
	if r.Owners == 0 || r.Operations == 0 {
		return nil, fmt.Errorf("analyse: %d processes, %d owners, %d operations: %w", r.Processes, r.Owners, r.Operations, ErrNoData)
	}
	return r, nil
}

// find is the last history of a process that had begun at an instant.
func (r *Report) find(p Process, at int64) (int, error) {
	found := -1
	for i, h := range r.histories {
		if p.File != "" && p.File != h.Process.File || p.PID != 0 && p.PID != h.Process.PID || h.Opened > at {
			continue
		}
		if found < 0 || h.Opened >= r.histories[found].Opened {
			found = i
		}
	}
	if found < 0 || p == (Process{}) {
		return 0, fmt.Errorf("no history of process %q, pid %d, begun before %d: %w", p.File, p.PID, at, ErrNoData)
	}
	return found, nil
}

// judge sorts and counts the claims on one shard and finds those that overlap.
func (r *Report) judge(id string) {
	claims := r.claims[id]
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.party, b.party), cmp.Compare(a.end, b.end), cmp.Compare(a.kind, b.kind))
	})
	latest := make([]claim, len(r.histories)) // per process, the claim so far that ends last; kind 0: none
	for _, c := range claims {
		if c.kind == Owner {
			r.Owners++
		} else {
			r.Operations++
		}
		for _, other := range latest {
			if other.kind != 0 && other.party != c.party && other.end > c.start {
				r.add(Overlap{Shard: id, A: r.claim(other), B: r.claim(c), Start: c.start, End: min(c.end, other.end)})
			}
		}
		if other := latest[c.party]; other.kind == 0 || c.end > other.end {
			latest[c.party] = c
		}
	}
	r.Overlap += contested(claims)
}

func (r *Report) add(o Overlap) {
	r.Count++
	if len(r.Overlaps) < MaxListed {
		r.Overlaps = append(r.Overlaps, o)
	}
}

func (r *Report) claim(c claim) Claim {
	who := r.lives[c.party][c.life]
	return Claim{
		Kind: c.kind, Process: r.histories[c.party].Process, Server: who.server, Incarnation: who.incarnation,
		Term: c.term, Start: c.start, End: c.end,
	}
}

// contested is the time in which at least two processes claim. The claims are sorted by start.
func contested(claims []claim) time.Duration {
	type edge struct {
		at    int64
		delta int
	}
	var edges []edge
	merged := map[int32]span{} // per process, the union of its claims so far: its last piece
	flush := func(s span) { edges = append(edges, edge{s.start, 1}, edge{s.end, -1}) }
	for _, c := range claims {
		s, ok := merged[c.party]
		switch {
		case ok && c.start <= s.end:
			s.end = max(s.end, c.end)
		case ok:
			flush(s)
			s = c.span
		default:
			s = c.span
		}
		merged[c.party] = s
	}
	if len(merged) < 2 {
		return 0
	}
	for _, party := range shard.SortedKeys(merged) {
		flush(merged[party])
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.delta, b.delta)) })
	var total int64
	depth := 0
	for i, e := range edges {
		if depth >= 2 {
			total += e.at - edges[i-1].at
		}
		depth += e.delta
	}
	return time.Duration(total)
}
