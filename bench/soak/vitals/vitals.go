// Package vitals notes what processes hold while they live: memory, goroutines, threads, descriptors; and says of which of them they hold more and more.
// bench/soak samples, and judges at the end. It reads /proc, and ends or starts nothing.
package vitals

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Vital is what is sampled.
type Vital uint8

// Vitals.
const (
	RSS Vital = iota // in KiB
	Goroutines
	Threads
	Descriptors
	vitals
)

// String names a vital, with its unit.
func (v Vital) String() string {
	switch v {
	case RSS:
		return "rss_kib"
	case Goroutines:
		return "goroutines"
	case Threads:
		return "threads"
	default:
		return "descriptors"
	}
}

// Sample is what a process held at an instant. Unknown is −1.
type Sample [vitals]int64

// Of reads what the kernel knows of a process; goroutines are unknown to it.
func Of(pid int) (Sample, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return Sample{}, err
	}
	s := Sample{RSS: -1, Goroutines: -1, Threads: -1}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for v, name := range map[Vital]string{RSS: "VmRSS:", Threads: "Threads:"} {
			if len(fields) > 1 && fields[0] == name {
				if s[v], err = strconv.ParseInt(fields[1], 10, 64); err != nil {
					return s, fmt.Errorf("status of %d: %q: %w", pid, line, err)
				}
			}
		}
	}
	if s[RSS] < 0 {
		return s, errors.New("it has ended")
	}
	open, err := os.ReadDir(filepath.Join(dir, "fd"))
	s[Descriptors] = int64(len(open))
	return s, err
}

// Life is one process, from its first sample to its last.
type Life struct {
	Name  string
	PID   int
	Began time.Duration // since the beginning of the log
	Ended time.Duration

	at      []time.Duration
	samples []Sample
}

// Log keeps the samples of all processes. Safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	lives []*Life
}

// Add notes a sample.
func (l *Log) Add(name string, pid int, at time.Duration, s Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.lives, func(v *Life) bool { return v.Name == name && v.PID == pid })
	if i < 0 {
		i = len(l.lives)
		l.lives = append(l.lives, &Life{Name: name, PID: pid, Began: at})
	}
	v := l.lives[i]
	v.Ended, v.at, v.samples = at, append(v.at, at), append(v.samples, s)
}

// Longest lists, by name, the longest life of each process.
func (l *Log) Longest() []*Life {
	l.mu.Lock()
	defer l.mu.Unlock()
	best := map[string]*Life{}
	for _, v := range l.lives {
		if b := best[v.Name]; b == nil || v.Ended-v.Began > b.Ended-b.Began {
			best[v.Name] = v
		}
	}
	list := make([]*Life, 0, len(best))
	for _, v := range best {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *Life) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Trend is how much a process held in the first and in the last third of its life after it had warmed up: the medians. −1: not known.
type Trend struct{ First, Last int64 }

// leastSamples is what a third needs to have a median that says something.
const leastSamples = 10

// Trend compares the thirds of a life without its first minutes; false: it was too short.
func (v *Life) Trend(of Vital, warmUp time.Duration) (Trend, bool) {
	var list []int64
	for i, at := range v.at {
		if at-v.Began >= warmUp && v.samples[i][of] >= 0 {
			list = append(list, v.samples[i][of])
		}
	}
	third := len(list) / 3
	if third < leastSamples {
		return Trend{-1, -1}, false
	}
	return Trend{median(list[:third]), median(list[len(list)-third:])}, true
}

func median(list []int64) int64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// Allowed is by how much vitals may grow beyond a quarter: what caches and pools need until they are warm, and what faults leave for a while.
func Allowed() Sample {
	return Sample{RSS: 16 << 10, Goroutines: 50, Threads: 10, Descriptors: 20}
}

// Grows reports whether a trend is one of something that leaks.
func (t Trend) Grows(of Vital, allowed Sample) bool {
	return t.Last > t.First+t.First/4+allowed[of]
}
