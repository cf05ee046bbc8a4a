// Roadef solves instances of the machine reassignment problem of the ROADEF/EURO challenge 2012 with the placement engine, and prints one line
// of JSON: what was found, in what time, and what it costs by this program's own account.
//
// Usage: go run ./bench/roadef -model MODEL -initial ASSIGNMENT -out SOLUTION [-time 60s] [-workers 2] [-seed 1] [-steps N -horizon N]
//
// With -generate 50000x5000 it makes an instance up instead, of so many processes and machines, and writes it to the files MODEL and ASSIGNMENT.
//
// A timed run measures first how fast the engine is here, and plans its cooling for the time that is left. The line says the steps and the horizon of
// that: with -steps and -horizon the same run is repeated exactly.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/run"
	"github.com/shardmanager/shardmanager/bench/internal/rss"
)

type result struct {
	Case       string  `json:"case"`
	Seconds    float64 `json:"seconds"` // of solving, without reading and writing
	Cost       int64   `json:"cost"`
	Initial    int64   `json:"initial_cost"`
	Bound      int64   `json:"lower_bound"` // proven from the problem alone
	Moves      int     `json:"moves"`
	Violations int     `json:"violations"`
	PeakRSS    int64   `json:"peak_rss_mib"`
	Seed       uint64  `json:"seed"`
	Workers    int     `json:"workers"`
	Steps      int64   `json:"steps"` // of each worker
	Horizon    int64   `json:"horizon"`
}

func main() {
	model := flag.String("model", "", "file with the instance")
	initial := flag.String("initial", "", "file with the initial assignment")
	out := flag.String("out", "", "file for the solution; empty: it is not written")
	limit := flag.Duration("time", time.Minute, "time to search; not used with -steps")
	config := run.Config{Explore: true}
	flag.IntVar(&config.Workers, "workers", 2, "searches side by side")
	flag.Uint64Var(&config.Seed, "seed", 1, "of the random choices")
	flag.Int64Var(&config.Steps, "steps", 0, "steps of each worker; 0: as many as there is time for")
	flag.Int64Var(&config.Horizon, "horizon", 0, "steps that cooling is planned for; 0: what the time allows, or -steps")
	made := flag.String("generate", "", "make up an instance of so many processes and machines, such as 50000x5000")
	flag.Parse()
	if *model == "" || *initial == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "roadef: -model and -initial are needed, and nothing but flags is taken")
		os.Exit(2)
	}
	if *made != "" {
		processes, machines, err := parseSize(*made)
		if err == nil {
			err = generateFiles(processes, machines, config.Seed, *model, *initial)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "roadef:", err)
			os.Exit(1)
		}
		return
	}
	r, err := solve(*model, *initial, *out, *limit, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "roadef:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "roadef:", err)
		os.Exit(1)
	}
}

// parseSize reads a number of processes and one of machines.
func parseSize(s string) (processes, machines int, err error) {
	a, b, ok := strings.Cut(s, "x")
	if !ok {
		return 0, 0, fmt.Errorf("size %q: expected processes and machines, such as 50000x5000", s)
	}
	p, errP := strconv.ParseUint(a, 10, 31)
	m, errM := strconv.ParseUint(b, 10, 31)
	if err := errors.Join(errP, errM); err != nil {
		return 0, 0, fmt.Errorf("size %q: %w", s, err)
	}
	return int(p), int(m), nil
}

func solve(model, initial, out string, limit time.Duration, c run.Config) (*result, error) {
	in, err := readModel(model)
	if err != nil {
		return nil, err
	}
	places, err := in.readAssignment(initial)
	if err != nil {
		return nil, err
	}
	r := &result{Case: strings.TrimPrefix(strings.TrimSuffix(filepath.Base(model), ".txt"), "model_"), Seed: c.Seed, Workers: c.Workers}
	if r.Initial, r.Violations = in.score(places, places); r.Violations > 0 {
		return nil, fmt.Errorf("%s: breaks %d constraints", initial, r.Violations)
	}
	p := in.problem(places)
	begin := time.Now()
	if c.Steps == 0 {
		if c.Horizon == 0 {
			if c.Horizon, err = horizon(p, begin, limit, c); err != nil {
				return nil, err
			}
		}
		c.Time = max(limit-time.Since(begin), time.Millisecond)
	} else if c.Horizon == 0 {
		c.Horizon = c.Steps
	}
	found, err := run.Search(context.Background(), p, c)
	if err != nil {
		return nil, err
	}
	r.Seconds, r.Steps, r.Horizon, r.Bound = time.Since(begin).Seconds(), found.Steps, c.Horizon, found.Bound[0]
	r.Cost, r.Violations = in.score(places, found.Places)
	if found.Broken != 0 || r.Cost != found.Cost[0] {
		return nil, errors.New("the engine's account differs from the definitions: a defect")
	}
	for i, m := range found.Places {
		if m != places[i] {
			r.Moves++
		}
	}
	r.PeakRSS = rss.PeakMiB()
	if out == "" {
		return r, nil
	}
	return r, write(out, found.Places)
}

// horizon measures how many steps of exploration there is time for after the descent, with as many workers side by side. What is not cold when the time
// is over has found little, and speed depends on what has been found, so that time is left over rather than missing.
func horizon(p *problem.Problem, begin time.Time, limit time.Duration, c run.Config) (int64, error) {
	const trial, spare = 4_000_000, 0.8
	c.Explore, c.Time = false, limit/4
	descent, err := run.Search(context.Background(), p, c)
	if err != nil || !descent.Over {
		return trial, err // whatever time is left after the descent is for short rounds
	}
	c.Explore, c.Time, c.Steps, c.Horizon = true, limit/2, descent.Steps+trial, trial
	found, err := run.Search(context.Background(), p, c)
	if err != nil || found.Over {
		return trial, err
	}
	perStep := float64(found.Took-descent.Took) / float64(max(found.Steps-descent.Steps, 1))
	left := limit - time.Since(begin) - descent.Took
	return int64(max(float64(left)*spare/max(perStep, 1), trial)), nil
}

func write(path string, places []int32) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, m := range places {
		_, _ = fmt.Fprint(w, m, " ") // Flush says what failed
	}
	return errors.Join(w.Flush(), f.Close())
}
