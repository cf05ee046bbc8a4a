// Package sim is the verb `shardmanager sim`: it plays simulated clusters by seeds, says which seeds break a promise, and makes such runs smaller.
//
// Called by cmd/shardmanager. What is simulated, internal/sim knows.
package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/sim"
)

// progressEvery is how often a sweep says how far it is.
const progressEvery = 5 * time.Second

// gcPercent lets the heap grow more than usual between collections: seeds leave much behind, and little of it stays.
const gcPercent = 400

// verb is one call of it.
type verb struct {
	options sim.Options
	seeds   uint64
	workers int
	quiet   bool
	output  string
	refuse  func(error) error
	out     io.Writer
	notes   io.Writer
	bar     *shell.Bar
}

// Command is the verb.
func Command(around shell.Shell) *cobra.Command {
	v := &verb{refuse: around.Refuse}
	c := &cobra.Command{
		Use:   "sim [--seed N] [--seeds COUNT]",
		Short: "Simulate clusters with faults, and check every promise",
		Long: `Sim plays a whole cluster in virtual time: the real allocator, agent and placement cores, and around them a
simulated store, network, clocks, disks, applications and operators. A seed draws the cluster's shape, which kinds
of faults there are, and when they happen. The same seed and flags give the same run, event by event.

One seed is played with its trace, one line for each event: seconds, who, what. With --seeds, many are played, side
by side and without traces; a seed that breaks a promise is played again with ever fewer faults, and the smallest
run that still breaks it is printed with the command that replays it.

Exit codes: 0: all promises held; 1: one was broken; 2: wrong flags.`,
		Example: `  shardmanager sim --seed 17
  shardmanager sim --seed 1 --seeds 1000
  shardmanager sim --seed 17 --keep 3,5 --quiet`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v.out, v.notes, v.bar = c.OutOrStdout(), c.ErrOrStderr(), shell.NewBar(c)
			return v.run(c.Context())
		},
	}
	f := c.Flags()
	f.Uint64Var(&v.options.Seed, "seed", 1, "the seed to play, or the first of --seeds")
	f.Uint64Var(&v.seeds, "seeds", 1, "how many seeds to play")
	f.IntVar(&v.options.Servers, "servers", 9, "servers of the cluster")
	f.IntVar(&v.options.Shards, "shards", 64, "shards of its app")
	f.IntVar(&v.options.Allocators, "allocators", 3, "allocators")
	f.DurationVar(&v.options.Duration, "duration", 5*time.Minute, "simulated time of each seed; the last 75 s, or 150 s with long leases, are without faults")
	f.IntSliceVar(&v.options.Keep, "keep", nil, "play only these of the seed's faults, by their numbers in the trace")
	f.IntVar(&v.workers, "workers", runtime.GOMAXPROCS(0), "seeds played at once")
	f.BoolVar(&v.quiet, "quiet", false, "do not print the trace of a single seed")
	f.StringVarP(&v.output, "output", "o", "text", "of --seeds: text or json")
	return c
}

func (v *verb) run(ctx context.Context) error {
	wrong := v.options.WithDefaults().Validate()
	switch {
	case v.seeds < 1:
		wrong = errors.New("--seeds: expected 1 or more")
	case v.workers < 1:
		wrong = errors.New("--workers: expected 1 or more")
	case v.output != "text" && v.output != "json":
		wrong = fmt.Errorf("--output: expected text or json, not %q", v.output)
	case v.seeds > 1 && v.options.Keep != nil:
		wrong = errors.New("--keep: its numbers are of one seed: leave --seeds out")
	}
	if wrong != nil {
		return v.refuse(wrong)
	}
	if v.seeds == 1 {
		return v.one()
	}
	return v.sweep(ctx)
}

// one plays a single seed and prints its trace.
func (v *verb) one() error {
	trace := bufio.NewWriter(v.out)
	if !v.quiet {
		v.options.Trace = trace
	}
	r, err := sim.Run(v.options)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(trace, "seed %d: %d events, %d requests served, %d failed, %d promises broken\n", r.Options.Seed, r.Events, r.Served, r.Failed, len(r.Breaches))
	for _, b := range r.Breaches {
		_, _ = fmt.Fprintln(trace, b)
	}
	if err := trace.Flush(); err != nil {
		return err
	}
	return verdict(len(r.Breaches) > 0, 1)
}

// summary is what a sweep found.
type summary struct {
	Seeds          uint64   `json:"seeds"`
	Seconds        float64  `json:"seconds"`
	SimulatedHours float64  `json:"simulated_hours"`
	HoursPerMinute float64  `json:"simulated_hours_per_minute"`
	Events         uint64   `json:"events"`
	Served         int      `json:"requests_served"`
	Failed         int      `json:"requests_failed"`
	Broken         []uint64 `json:"broken_seeds"`
}

// sweep plays many seeds.
func (v *verb) sweep(ctx context.Context) error {
	debug.SetGCPercent(gcPercent)
	s := summary{Broken: []uint64{}}
	began, told := time.Now(), time.Now()
	err := sim.Sweep(ctx, v.options, v.seeds, v.workers, func(r sim.Result) {
		s.Seeds++
		s.Events += r.Events
		s.Served, s.Failed = s.Served+r.Served, s.Failed+r.Failed
		s.SimulatedHours += r.Options.Duration.Hours()
		if len(r.Breaches) > 0 {
			s.Broken = append(s.Broken, r.Options.Seed)
			v.bar.Clear()
			v.explain(r)
		}
		far := fmt.Sprintf("%d of %d seeds, %d broken, %.0f simulated hours a minute", s.Seeds, v.seeds, len(s.Broken), s.SimulatedHours/time.Since(began).Minutes())
		if v.bar.Show(s.Seeds, v.seeds, far); v.bar == nil && time.Since(told) >= progressEvery {
			told = time.Now()
			_, _ = fmt.Fprintln(v.notes, far)
		}
	})
	v.bar.Clear()
	s.Seconds = time.Since(began).Seconds()
	s.HoursPerMinute = s.SimulatedHours / time.Since(began).Minutes()
	if v.output == "json" {
		if err := json.NewEncoder(v.out).Encode(s); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintf(v.out, "%d seeds, %.1f simulated hours in %.1f s (%.0f hours a minute), %d events, %d requests served, %d failed\n", s.Seeds, s.SimulatedHours,
			s.Seconds, s.HoursPerMinute, s.Events, s.Served, s.Failed)
	}
	if err != nil {
		return err
	}
	return verdict(len(s.Broken) > 0, len(s.Broken))
}

// explain makes a run that broke a promise smaller, and says how to play it again.
func (v *verb) explain(r sim.Result) {
	_, _ = fmt.Fprintf(v.notes, "seed %d: %s\n", r.Options.Seed, r.Breaches[0])
	small := sim.Shrink(r)
	var keep []string
	for _, n := range small.Played() {
		keep = append(keep, strconv.Itoa(n))
		_, _ = fmt.Fprintf(v.notes, "    %3d  %s\n", n, small.Faults[n])
	}
	_, _ = fmt.Fprintf(v.notes, "    replay: shardmanager sim --seed %d --servers %d --shards %d --allocators %d --duration %s --keep %s\n", r.Options.Seed,
		r.Options.Servers, r.Options.Shards, r.Options.Allocators, r.Options.Duration, strings.Join(keep, ","))
}

func verdict(broken bool, seeds int) error {
	if !broken {
		return nil
	}
	return fmt.Errorf("a promise was broken in %d of the seeds", seeds)
}
