// Command watchers measures what it costs an allocator's events to be followed by many readers: a log that is written at a rate, and the real
// handlers on a real socket, in a process of their own; the readers are in this one. It prints one JSON line.
//
//	go run ./bench/watchers -readers 1000 -rate 100 -over sse
//	go run ./bench/watchers -readers 1000 -rate 100 -over connect
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// result is what is measured.
type result struct {
	Over      string  `json:"over"`
	Readers   int     `json:"readers"`
	Rate      int     `json:"events_per_second"`
	Seconds   float64 `json:"seconds"`
	Cores     float64 `json:"cores"` // processor time of the serving process a second
	IdleCores float64 `json:"idle_cores"`
	RSS       float64 `json:"peak_rss_mib"`
	Delivered float64 `json:"delivered_per_second"`
	P50       float64 `json:"delay_p50_ms"` // from when an event was written until a reader had it
	P99       float64 `json:"delay_p99_ms"`
	Worst     float64 `json:"delay_worst_ms"`
}

type config struct {
	serve         bool
	readers, rate int
	over          string
	settle, last  time.Duration
}

func main() {
	var c config
	flag.BoolVar(&c.serve, "serve", false, "be the serving process, as this program starts it")
	flag.IntVar(&c.readers, "readers", 1_000, "readers that follow")
	flag.IntVar(&c.rate, "rate", 100, "events a second")
	flag.StringVar(&c.over, "over", "sse", "how they follow: sse or connect")
	flag.DurationVar(&c.settle, "settle", 5*time.Second, "how long to wait after the last reader came, and to measure at rest")
	flag.DurationVar(&c.last, "last", 30*time.Second, "how long to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	work := run
	if c.serve {
		work = serve
	}
	if err := work(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "watchers:", err)
		os.Exit(1)
	}
}

func (c config) validate() error {
	if c.readers < 1 || c.rate < 1 || c.settle <= 0 || c.last <= 0 {
		return errors.New("-readers, -rate, -settle, -last: expected more than 0")
	}
	if c.over != "sse" && c.over != "connect" {
		return fmt.Errorf("-over: expected sse or connect, not %q", c.over)
	}
	return nil
}

// sampled is of how many readers one has its delays kept.
const sampled = 50

// seen is what the readers had.
type seen struct {
	count  atomic.Int64
	mu     sync.Mutex
	delays []int64 // milliseconds, of the readers that are sampled
}

func run(ctx context.Context, c config) error {
	if err := c.validate(); err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(c.readers)+100 {
		return fmt.Errorf("open files: expected a limit of %d at least, not %d: %w", c.readers+100, limit.Cur, err)
	}
	server, err := startServer(ctx, c)
	if err != nil {
		return err
	}
	defer server.stop()
	ctx, cancel := context.WithCancel(ctx)
	got := new(seen)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	failed := make(chan error, c.readers)
	for i := range c.readers {
		readers.Go(func() {
			sample := i%sampled == 0
			if err := server.follow(ctx, c.over, sample, func(delay int64) { got.note(delay, sample) }); ctx.Err() == nil {
				failed <- fmt.Errorf("reader %d: %w", i, err)
			}
		})
	}
	r := result{Over: c.over, Readers: c.readers, Rate: c.rate}
	if err := server.measure(ctx, c, got, &r, failed); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// note counts an event, and keeps its delay.
func (s *seen) note(delay int64, keep bool) {
	s.count.Add(1)
	if keep {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.delays = append(s.delays, delay)
	}
}

// restart forgets what was seen so far.
func (s *seen) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delays = nil
	s.count.Store(0)
}

// quantiles fills in the delays.
func (s *seen) quantiles(r *result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.delays) == 0 {
		return errors.New("no reader got an event")
	}
	slices.Sort(s.delays)
	at := func(percent int) float64 { return float64(s.delays[(len(s.delays)-1)*percent/100]) }
	r.P50, r.P99, r.Worst = at(50), at(99), at(100)
	return nil
}
