// Placement measures the placement engine on problems whose results others published, and prints one line of JSON.
//
// Usage: go run ./bench/placement -case zippy|sev0|failover|churn [-shards N] [-servers N] [-replicas N] [-rounds N] [-seed 1] [-solver engine|greedy] [-grouped=false]
//
//   - zippy: the experiment of "Shard Manager" (Lee and others, SOSP 2021, section 8.4): three metrics, a tenth of the servers over a threshold and one
//     shard in a hundred with replicas in one region; how long until neither is left, and in how many moves. The paper does not say how many replicas
//     a shard has; here it is three, so that 75 000 shards are 225 000 replicas.
//   - sev0: 240 of 27 766 servers have one object too many; seven hard metrics.
//   - failover: a region of 500 servers of 10 000 is lost, with 50 000 of 1 000 000 replicas.
//   - churn: loads are drawn anew each round; every server is brought within 10 % of the mean.
//
// seconds is solving, build_seconds is laying out the problem for the engine before it. violations are counted by this program, not by the engine.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/shardmanager/shardmanager/allocator/placement/engine"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/bench/internal/rss"
)

type options struct {
	shards, servers, replicas, rounds int
	seed                              uint64
	greedy, ungrouped                 bool
}

type result struct {
	Case       string  `json:"case"`
	Solver     string  `json:"solver"`
	Grouped    bool    `json:"grouped"`
	Seconds    float64 `json:"seconds"`
	Build      float64 `json:"build_seconds"`
	Before     int     `json:"violations_before"`
	Violations int     `json:"violations"`
	Moves      int     `json:"moves"`
	PeakRSS    int64   `json:"peak_rss_mib"`
	Seed       uint64  `json:"seed"`
	Workers    int     `json:"workers"`
	Steps      int64   `json:"steps"`
	Servers    int     `json:"servers"`
	Replicas   int     `json:"replicas"`

	Rounds     int     `json:"rounds,omitempty"`
	Impossible int     `json:"impossible,omitempty"` // churn: servers that no placement could bring within the bounds
	SlowestMS  float64 `json:"slowest_round_ms,omitempty"`
	RoundMS    float64 `json:"round_ms,omitempty"`    // churn: mean of the rounds
	RoundMoves float64 `json:"round_moves,omitempty"` // likewise
	Emergency  float64 `json:"emergency_seconds,omitempty"`
	Swings     []swing `json:"swings,omitempty"` // thrash
}

func main() {
	which := flag.String("case", "", "zippy, sev0, failover or churn")
	solver := flag.String("solver", "engine", "engine, or greedy (zippy and churn): the largest replica of the hottest server to the coolest one")
	var o options
	flag.IntVar(&o.shards, "shards", 0, "shards; 0: as published")
	flag.IntVar(&o.servers, "servers", 0, "servers; 0: as published")
	flag.IntVar(&o.replicas, "replicas", 3, "replicas of a shard, in zippy")
	flag.IntVar(&o.rounds, "rounds", 100, "rounds of churn")
	flag.Uint64Var(&o.seed, "seed", 1, "of what is drawn, and of the engine")
	grouped := flag.Bool("grouped", true, "sample targets by domain, and try few of replicas that are alike")
	flag.Parse()
	o.ungrouped = !*grouped
	o.greedy = *solver == "greedy"
	cases := map[string]func(options) (*result, error){"zippy": zippy, "sev0": sev0, "failover": failover, "churn": churn, "thrash": thrash}
	run, ok := cases[*which]
	switch {
	case !ok:
		fail(2, fmt.Errorf("-case %q: expected zippy, sev0, failover or churn", *which))
	case *solver != "engine" && *solver != "greedy", o.greedy && *which != "zippy" && *which != "churn":
		fail(2, fmt.Errorf("-solver %q: expected engine or, with -case zippy or churn, greedy", *solver))
	case o.shards < 0 || o.servers < 0 || o.replicas < 1 || o.replicas > 8 || o.rounds < 1 || flag.NArg() > 0:
		fail(2, fmt.Errorf("a number is out of range, or something follows the flags"))
	}
	r, err := run(o)
	if err != nil {
		fail(1, err)
	}
	r.Case, r.Solver, r.Grouped, r.Seed, r.Workers, r.PeakRSS = *which, *solver, *grouped, o.seed, 1, rss.PeakMiB()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fail(1, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "placement:", err)
	os.Exit(code)
}

// solve lets the engine step until done says so, or until it is over.
func solve(p *problem.Problem, o options, done func(broken int64, cost [problem.MaxTiers]int64) bool) (*result, []int32, error) {
	begin := time.Now()
	s, err := engine.NewSearch(p, engine.Options{Seed: o.seed, Ungrouped: o.ungrouped})
	if err != nil {
		return nil, nil, err
	}
	r := &result{Build: time.Since(begin).Seconds(), Servers: p.Servers, Replicas: p.Replicas}
	begin = time.Now()
	for !s.Over() {
		if broken, cost := s.Cost(); done(broken, cost) {
			break
		}
		s.Step(1000)
	}
	r.Seconds, r.Steps = time.Since(begin).Seconds(), s.Steps()
	places, _, _ := s.Best(nil)
	r.Before, r.Violations, r.Moves = violations(p, p.Start), violations(p, places), moves(p, places)
	return r, places, nil
}

func moves(p *problem.Problem, places []int32) (n int) {
	for r, t := range places {
		if t != p.Start[r] {
			n++
		}
	}
	return n
}

// violations counts by the definitions: servers over capacity, or over a threshold, by metric; servers with two replicas of a group; groups in
// fewer domains than they must be, or should be; replicas without a place.
func violations(p *problem.Problem, places []int32) (n int) {
	use := make([]int64, p.Servers*p.Metrics)
	on := make([][]int32, p.Groups)
	for r, t := range places {
		if t < 0 {
			n++
			continue
		}
		for m := range p.Metrics {
			use[int(t)*p.Metrics+m] += p.Load[r*p.Metrics+m]
		}
		on[p.Group[r]] = append(on[p.Group[r]], t)
	}
	for i, u := range use {
		if u > p.Capacity[i] {
			n++
		}
	}
	for _, g := range p.Thresholds {
		for t, limit := range g.Limit {
			if use[t*p.Metrics+g.Metric] > limit {
				n++
			}
		}
	}
	for g, servers := range on {
		if p.Exclusive[g] && distinct(servers, func(t int32) int32 { return t }) < len(servers) {
			n++
		}
	}
	for _, s := range p.Spreads {
		d := distinct(on[s.Group], func(t int32) int32 { return p.Domains[s.Level][t] })
		if d < min(max(s.Min, s.Want), len(on[s.Group])) {
			n++
		}
	}
	return n
}

func distinct(servers []int32, of func(int32) int32) (n int) {
	for i, t := range servers {
		first := true
		for _, other := range servers[:i] {
			first = first && of(other) != of(t)
		}
		if first {
			n++
		}
	}
	return n
}
