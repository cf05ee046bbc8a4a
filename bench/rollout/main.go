// Command rollout measures what planned events, and failures beside them, do to whoever uses an app: real allocators and a real store, many small servers, each a
// process with a real agent and the example's application in it, and the example's load generator, which checks every answer.
//
//	go run ./bench/rollout -experiment upgrade
//	go run ./bench/rollout -experiment region
//	go run ./bench/rollout -experiment overlap
//	go run ./bench/rollout -experiment warm
//
// Each prints one line of JSON and writes the data and a plot to DIR/<experiment>.csv and .png.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/fleet"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// serve is the first argument of a server's process.
const serve = "serve"

// config of an experiment.
type config struct {
	binary, out, dir string
	self             []string
	servers, shards  int
	startUp          time.Duration
	rate, keys       int
	deadline         time.Duration
	steady           time.Duration // before the first event and after the last
	requests         int64         // at least so many, by load that goes on after the last event
	variants         []string
	profile          string
	dies, returns    time.Duration
	crashes, changes time.Duration
	keep             bool
	progress         io.Writer
}

// experiments by name; each fills in what was not set, runs, and returns what is to be printed.
var experiments = map[string]struct {
	usual config
	run   func(context.Context, config) (any, error)
}{
	"upgrade": {config{servers: 60, shards: 10_000, startUp: 20 * time.Second, rate: 1_000, requests: 1_000_000}, upgrade},
	"region":  {config{servers: 30, shards: 1_000, startUp: 5 * time.Second, rate: 500}, region},
	"overlap": {config{servers: 30, shards: 1_000, startUp: 10 * time.Second, rate: 500}, forced},
	"warm":    {config{servers: 6, shards: 96, startUp: 3 * time.Second, rate: 500}, warm},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == serve {
		if err := fleet.Serve(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	c, name := flags()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	result, err := measure(ctx, name, c)
	if result != nil {
		err = errors.Join(err, json.NewEncoder(os.Stdout).Encode(result))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rollout:", err)
		os.Exit(1)
	}
}

func flags() (config, string) {
	c := config{progress: os.Stderr}
	name := flag.String("experiment", "", strings.Join(shard.SortedKeys(experiments), ", "))
	variants := flag.String("variants", "", "of upgrade: some of "+strings.Join(variantNames(), ","))
	flag.StringVar(&c.binary, "binary", "", "the shardmanager binary (default: built from ./cmd/shardmanager)")
	flag.StringVar(&c.out, "out", "docs/benchmarks", "directory for the data and the plot")
	flag.IntVar(&c.servers, "servers", 0, "servers; of region: in each of the three")
	flag.IntVar(&c.shards, "shards", 0, "shards")
	flag.DurationVar(&c.startUp, "startup", 0, "how long a server that is started again takes before it does anything")
	flag.IntVar(&c.rate, "rate", 0, "requests a second")
	flag.IntVar(&c.keys, "keys", 30_000, "keys")
	flag.DurationVar(&c.deadline, "deadline", 2*time.Second, "of a request, from the instant at which it is due")
	flag.DurationVar(&c.steady, "steady", 15*time.Second, "steady load before the first event and after the last")
	flag.Int64Var(&c.requests, "requests", 0, "of upgrade: as many requests at least, in the first variant")
	flag.StringVar(&c.profile, "profile", "default", "times of leases: default or fast")
	flag.DurationVar(&c.dies, "dies", 90*time.Second, "of region: when it dies")
	flag.DurationVar(&c.returns, "returns", 450*time.Second, "of region: when it returns")
	flag.DurationVar(&c.crashes, "crash-every", 15*time.Second, "of overlap: mean time between crashes of servers, of which one in ten is down at most")
	flag.DurationVar(&c.changes, "leader-every", 30*time.Second, "of overlap: how often the leader is killed")
	flag.BoolVar(&c.keep, "keep", false, "keep logs and histories")
	flag.Parse()
	if *variants != "" {
		c.variants = strings.Split(*variants, ",")
	}
	return c, *name
}

// measure runs an experiment.
func measure(ctx context.Context, name string, c config) (any, error) {
	e, ok := experiments[name]
	if !ok {
		return nil, fmt.Errorf("-experiment %q: expected one of %s", name, strings.Join(shard.SortedKeys(experiments), ", "))
	}
	for _, v := range c.variants {
		if !slices.Contains(variantNames(), v) {
			return nil, fmt.Errorf("-variants %q: expected some of %s", v, strings.Join(variantNames(), ", "))
		}
	}
	fill(&c.servers, e.usual.servers)
	fill(&c.shards, e.usual.shards)
	fill(&c.startUp, e.usual.startUp)
	fill(&c.requests, e.usual.requests)
	fill(&c.rate, e.usual.rate)
	dir, err := os.MkdirTemp("", "rollout")
	if err != nil {
		return nil, err
	}
	if c.keep {
		_, _ = fmt.Fprintln(c.progress, "logs and histories:", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if c.self == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		c.self = []string{self, serve}
	}
	if c.binary == "" {
		c.binary = filepath.Join(dir, "shardmanager")
		if said, err := exec.CommandContext(ctx, "go", "build", "-o", c.binary, "./cmd/shardmanager").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build ./cmd/shardmanager: %w: %s", err, said)
		}
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return nil, err
	}
	c.out = filepath.Join(c.out, name)
	c.dir = dir
	return e.run(ctx, c)
}

func fill[T comparable](field *T, usual T) {
	var zero T
	if *field == zero {
		*field = usual
	}
}

// fleet is the fleet of one run.
func (c config) fleet(name string, spec *pb.AppSpec, places []fleet.Place, how servers) (*fleet.Fleet, error) {
	return fleet.New(fleet.Config{
		Binary: c.binary, Self: c.self, Dir: filepath.Join(c.dir, strings.ReplaceAll(name, " ", "-")), Spec: spec, Places: places, Profile: c.profile, StartUp: c.startUp, Progress: c.progress,
		History: how == recording, Cold: how == cold, Load: fleet.Load{Rate: c.rate, Keys: c.keys, Deadline: c.deadline},
	})
}

// servers is how those of a fleet are.
type servers uint8

const (
	usual     servers = iota + 1
	recording         // what they do, for the detector of overlaps
	cold              // without caches that go along
)
