package kvload

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	"github.com/shardmanager/shardmanager/sdk"
)

// app is the app whose shards are called, unless another is chosen.
const app = "kv"

// Config of the load generator.
type Config struct {
	App        string   // whose shards are called
	Agent      string   // address of the agent; empty: none
	Allocators []string // addresses of allocators, asked while the agent does not answer
	Cluster    string   // empty: not checked
	CacheDir   string   // for the shard map; empty: not kept
	Rate       int      // requests per second
	Keys       int
	WriteRatio float64 // share of writes, 0 to 1
	Nearest    float64 // share of the reads that any replica may answer, 0 to 1
	Region     string  // where the generator runs, so that those go to the nearest replica; empty: unknown
	Zone       string
	Deadline   time.Duration // of a request, from the instant at which it is due
	Duration   time.Duration // of the run; 0: until ctx ends
	History    string        // file for internal/overlap/requests; empty: none
	Focus      string        // file of a Focus, which need not exist; empty: none
}

// Bounds of a Config.
const (
	maxRate     = 100_000
	maxKeys     = 10_000_000
	maxDeadline = time.Minute
)

// Default is the load of the demo.
func Default() Config {
	return Config{App: app, Rate: 2000, Keys: 10_000, WriteRatio: 0.5, Deadline: 2 * time.Second}
}

// Validate checks what can be checked without doing anything.
func (c Config) Validate() error {
	switch {
	case c.Agent == "" && len(c.Allocators) == 0:
		return errors.New("agent, allocators: expected at least one address to get the shard map from")
	case c.Rate < 1 || c.Rate > maxRate:
		return fmt.Errorf("rate %d: expected 1 to %d requests a second", c.Rate, maxRate)
	case c.Keys < 1 || c.Keys > maxKeys:
		return fmt.Errorf("keys %d: expected 1 to %d", c.Keys, maxKeys)
	case c.WriteRatio < 0 || c.WriteRatio > 1:
		return fmt.Errorf("write-ratio %v: expected 0 to 1", c.WriteRatio)
	case c.Nearest < 0 || c.Nearest > 1:
		return fmt.Errorf("nearest %v: expected 0 to 1", c.Nearest)
	case c.Deadline <= 0 || c.Deadline > maxDeadline:
		return fmt.Errorf("deadline %v: expected more than 0 and at most %v", c.Deadline, maxDeadline)
	case c.Duration < 0:
		return fmt.Errorf("duration %v: expected 0 (until a signal) or more", c.Duration)
	}
	return nil
}

// Line is what the generator prints, as JSON, every second and once more at the end.
type Line struct {
	Final      bool   `json:"final"`
	MapVersion string `json:"map_version"`
	Counts            // since the start
	violationCounts
	NearestCounts
	CacheCounts
	InFlight int64  `json:"in_flight"`
	Second   Counts `json:"second"` // since the line before
	// Only in the last line: keys that were written and read back at the end, and those that could not be.
	VerifiedKeys   int64 `json:"verified_keys"`
	UnverifiedKeys int64 `json:"unverified_keys"`
}

// CacheCounts are the requests since the start that a server's cache could have answered, and those that it could not, as far as answers say.
type CacheCounts struct {
	Hits   int64   `json:"cache_hits"`
	Misses int64   `json:"cache_misses"`
	Rate   float64 `json:"cache_hit_percent"` // since the line before; as it was where there was none
}

// next are the counts of the next line.
func (c CacheCounts) next(hits, misses int64) CacheCounts {
	if h, m := hits-c.Hits, misses-c.Misses; h+m > 0 {
		c.Rate = 100 * float64(h) / float64(h+m)
	}
	c.Hits, c.Misses = hits, misses
	return c
}

// violationCounts are the broken promises since the start, under their names in JSON.
type violationCounts struct {
	LostWrites     int64 `json:"lost_writes"`
	RepeatedWrites int64 `json:"repeated_writes"`
	StaleReads     int64 `json:"stale_reads"`
}

// ErrViolated says that the service broke a promise: it lost or repeated a write, or answered a read that was staler than it may be.
var ErrViolated = errors.New("the service broke a promise")

// readBackPatience bounds the read-back at the end.
const readBackPatience = 30 * time.Second

// Run generates load until ctx or the configured duration ends, then reads back what it wrote. It prints Lines to out. The error is ErrViolated
// if a check failed; failed requests alone are no error.
func Run(ctx context.Context, cfg Config, out io.Writer, log *slog.Logger) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	record := func(requests.Request) error { return nil }
	flush := func() error { return nil }
	if cfg.History != "" {
		history, err := requests.Create(cfg.History)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, history.Close()) }()
		record, flush = untilFull(history, log), history.Flush
	}
	router, err := newRouter(cfg, log)
	if err != nil {
		return err
	}
	routing, stopRouting := context.WithCancel(context.WithoutCancel(ctx)) // the read-back still needs it
	routed := make(chan error, 1)
	go func() { routed <- router.Run(routing) }()
	defer func() {
		stopRouting()
		if failure := <-routed; !errors.Is(failure, context.Canceled) {
			err = errors.Join(err, failure)
		}
	}()
	if err := router.Ready(ctx); err != nil {
		return fmt.Errorf("load: waiting for the first shard map: %w", err)
	}
	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	id := rand.Uint64()
	r := &run{router: router, client: newClient(router, id), out: out, flush: flush, focus: cfg.Focus}
	r.generator = newGenerator(
		settings{rate: cfg.Rate, writeRatio: cfg.WriteRatio, nearest: cfg.Nearest, deadline: cfg.Deadline},
		r.client, makeKeys(router, id, cfg.Keys),
		func(q requests.Request) { r.fail(record(q)) })
	return r.do(ctx)
}

// untilFull goes on without a log once it is full: whoever reads it is told.
func untilFull(history *requests.Log, log *slog.Logger) func(requests.Request) error {
	var once sync.Once
	return func(r requests.Request) error {
		err := history.Add(r)
		if errors.Is(err, requests.ErrFull) {
			once.Do(func() { log.Warn("requests are no longer logged", "error", err) })
			return nil
		}
		return err
	}
}

func newRouter(cfg Config, log *slog.Logger) (*sdk.Router, error) {
	return sdk.NewRouter(cmp.Or(cfg.App, app), sdk.WithAgent(cfg.Agent), sdk.WithAllocators(cfg.Allocators...), sdk.WithCluster(cfg.Cluster),
		sdk.WithCacheDir(cfg.CacheDir), sdk.WithRouterLogger(log), sdk.WithLocality(cfg.Region, cfg.Zone))
}

// makeKeys names the keys of a run and notes their shards.
func makeKeys(router *sdk.Router, id uint64, n int) []keyState {
	keys := make([]keyState, n)
	for i := range keys {
		keys[i].name = fmt.Sprintf("%016x-%d", id, i)
		if route, ok := router.LookupString(keys[i].name); ok {
			keys[i].shard = route.Index()
		}
	}
	return keys
}

// run is a generator with its reports.
type run struct {
	generator *generator
	router    *sdk.Router
	client    *client
	cache     CacheCounts // as printed last
	out       io.Writer
	flush     func() error
	focus     string

	mu  sync.Mutex
	err error // first failure to record or print
}

func (r *run) fail(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *run) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// do runs the generator, printing every second, then reads back and prints the last line.
func (r *run) do(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	generated := make(chan struct{})
	go func() {
		defer close(generated)
		r.generator.run(ctx)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-ticker.C:
			r.print(Line{})
			r.refocus()
			if r.failure() != nil {
				cancel() // what cannot be recorded need not be sent
			}
		case <-generated:
			running = false
		}
	}
	back, done := context.WithTimeout(context.WithoutCancel(ctx), readBackPatience)
	defer done()
	last := Line{Final: true}
	last.VerifiedKeys, last.UnverifiedKeys = r.generator.readBack(back)
	last = r.print(last)
	if last.violationCounts != (violationCounts{}) {
		r.fail(fmt.Errorf("load: %d writes lost, %d repeated, %d reads stale: %w", last.LostWrites, last.RepeatedWrites, last.StaleReads, ErrViolated))
	}
	if last.WrongNearestReads > 0 {
		r.fail(fmt.Errorf("load: %d reads at secondaries older than they said, or never written: %w", last.WrongNearestReads, ErrViolated))
	}
	if last.UnverifiedKeys > 0 {
		r.fail(fmt.Errorf("load: %d of the written keys could not be read back", last.UnverifiedKeys))
	}
	return r.failure()
}

// refocus shifts the load to where the file says. What cannot be read ends the run: its figures would be about another load.
func (r *run) refocus() {
	if r.focus == "" {
		return
	}
	focus, err := readFocus(r.focus)
	r.fail(err)
	if err == nil {
		r.generator.choice.shift(focus, r.generator.keys)
	}
}

// print completes a line and prints it.
func (r *run) print(line Line) Line {
	var v violations
	line.Counts, line.Second, v = r.generator.stats.turn()
	line.violationCounts = violationCounts{LostWrites: v.Lost, RepeatedWrites: v.Repeated, StaleReads: v.Stale}
	line.NearestCounts = r.generator.stats.nearestSoFar()
	line.CacheCounts = r.cache.next(r.client.hits.Load(), r.client.misses.Load())
	r.cache = line.CacheCounts
	line.InFlight, line.MapVersion = r.generator.inFlight.Load(), r.router.Version()
	text, err := json.Marshal(line)
	if err == nil {
		_, err = r.out.Write(append(text, '\n'))
	}
	r.fail(err)
	r.fail(r.flush())
	return line
}
