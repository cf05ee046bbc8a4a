// Placement measures the placement engine on problems whose results others published, and prints one line of JSON.
//
// Usage: go run ./bench/placement -case zippy|sev0|failover|churn|thrash [-shards N] [-servers N] [-replicas N] [-percent N] [-rounds N] [-seed 1]
// [-workers 1] [-solver engine|greedy] [-grouped=false]
//
//   - zippy: the experiment of "Shard Manager" (Lee and others, SOSP 2021, section 8.4): three metrics, an eighth of the servers over a threshold and one
//     shard in a hundred with replicas in one region; how long until neither is left, and in how many moves.
//   - sev0: 240 of 27 766 servers have one object too many; seven hard metrics.
//   - failover: a region of 500 servers of 10 000 is lost, with 50 000 of 1 000 000 replicas: an emergency plan, and periodic ones after it.
//   - churn: loads are drawn anew each round; every server is brought within 10 % of the mean.
//   - thrash: loads oscillate, and the allocator's planner, with what it remembers, follows them; moves that undo others are violations.
//
// seconds is solving, build_seconds is laying out the problem for the engine before it. violations are counted by this program, not by the engine, and
// so is whether the moves of a plan can be made one by one without breaking a hard constraint on the way.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/bench/internal/rss"
)

type options struct {
	shards, servers, replicas, rounds, percent, workers int
	seed                                                uint64
	greedy, ungrouped                                   bool
}

type result struct {
	Case       string  `json:"case"`
	Solver     string  `json:"solver"`
	Grouped    bool    `json:"grouped"`
	Seconds    float64 `json:"seconds"`
	Build      float64 `json:"build_seconds"`
	Moves      int     `json:"moves"`
	Before     int     `json:"violations_before"`
	Violations int     `json:"violations"`
	PeakRSS    int64   `json:"peak_rss_mib"`
	Seed       uint64  `json:"seed"`
	Workers    int     `json:"workers"`
	Steps      int64   `json:"steps"`
	Servers    int     `json:"servers"`
	Replicas   int     `json:"replicas"`

	KindsBefore violations `json:"violations_before_by_kind"`
	Kinds       violations `json:"violations_by_kind"`

	// of failover
	Emergency      float64     `json:"emergency_seconds,omitempty"`
	EmergencyMoves int         `json:"emergency_moves,omitempty"`
	AfterEmergency *violations `json:"violations_after_emergency,omitempty"`

	Rounds     int     `json:"rounds,omitempty"` // plans of churn and thrash; periodic ones of failover
	RoundMS    float64 `json:"round_ms,omitempty"`
	RoundMoves float64 `json:"round_moves,omitempty"`
	SlowestMS  float64 `json:"slowest_round_ms,omitempty"`
	Impossible int     `json:"impossible,omitempty"` // churn: servers that no placement could bring within the bounds, of all rounds
	Swings     []swing `json:"swings,omitempty"`     // thrash
}

func main() {
	cases := map[string]func(options) (*result, error){"zippy": zippy, "sev0": sev0, "failover": failover, "churn": churn, "thrash": thrash}
	which := flag.String("case", "", strings.Join(slices.Sorted(maps.Keys(cases)), ", "))
	solver := flag.String("solver", "engine", "engine, or greedy, which takes replicas from the hottest server to the coolest one (zippy and churn)")
	var o options
	flag.IntVar(&o.shards, "shards", 0, "shards; 0: as published")
	flag.IntVar(&o.servers, "servers", 0, "servers; 0: as published")
	flag.IntVar(&o.replicas, "replicas", 3, "replicas of a shard, in zippy")
	flag.IntVar(&o.percent, "percent", 80, "how full servers are, in zippy")
	flag.IntVar(&o.rounds, "rounds", 100, "rounds of churn and thrash")
	flag.IntVar(&o.workers, "workers", 1, "searches side by side, of which the best counts")
	flag.Uint64Var(&o.seed, "seed", 1, "of what is drawn, and of the engine")
	grouped := flag.Bool("grouped", true, "sample targets by domain, and try few of replicas that are alike")
	flag.Parse()
	o.ungrouped = !*grouped
	o.greedy = *solver == "greedy"
	play, ok := cases[*which]
	switch {
	case !ok:
		fail(2, fmt.Errorf("-case %q: expected %s", *which, flag.Lookup("case").Usage))
	case *solver != "engine" && *solver != "greedy", o.greedy && *which != "zippy" && *which != "churn":
		fail(2, fmt.Errorf("-solver %q: expected engine or, with -case zippy or churn, greedy", *solver))
	case *which == "thrash" && (o.ungrouped || o.workers > 1):
		fail(2, fmt.Errorf("-case thrash: the allocator's planner has one worker, and samples by domain"))
	case o.shards < 0 || o.servers < 0 || o.replicas < 1 || o.replicas > 8 || o.rounds < 1 || o.percent < 50 || o.percent > 85 || o.workers < 1 || flag.NArg() > 0:
		fail(2, fmt.Errorf("a number is out of range, or something follows the flags"))
	}
	r, err := play(o)
	if err != nil {
		fail(1, err)
	}
	r.Case, r.Solver, r.Grouped, r.Seed, r.Workers, r.PeakRSS = *which, *solver, *grouped, o.seed, o.workers, rss.PeakMiB()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fail(1, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "placement:", err)
	os.Exit(code)
}
