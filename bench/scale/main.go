// Command scale measures an allocator with many shards and servers: a real store (the embedded one, or Consul) and real allocators, each a
// process of its own, and simulated agents in this one, which attach over real sockets, renew, and do every command at once. One
// server then fails over, and last the leader is killed in the middle of a drain. It builds the binary, wants Consul in .bin or CONSUL_BIN, and
// prints one JSON line.
//
//	go run ./bench/scale -shards 100000 -replicas 2 -servers 1000
//	go run ./bench/scale -store consul -consul-servers 3 -servers 100
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/bench/internal/usage"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// result is what is measured.
type result struct {
	Case      string       `json:"case"`
	Store     string       `json:"store"` // with the number of its servers
	Shards    int          `json:"shards"`
	Replicas  int          `json:"replicas"`
	Servers   int          `json:"servers"`
	Attach    float64      `json:"attach_seconds"`     // until every agent was welcomed
	Durable   float64      `json:"durable_seconds"`    // from the creation of the app until the store has a primary for every shard
	Placed    float64      `json:"placed_seconds"`     // until every replica is where it should be
	RSS       float64      `json:"rss_mib"`            // of the allocator, at rest after that
	PeakRSS   float64      `json:"peak_rss_mib"`       // of the allocator, at its highest
	AnonRSS   float64      `json:"rss_anon_mib"`       // of RSS, what is no file
	IdleCores float64      `json:"idle_cores"`         // of the allocator, at rest
	StoreRSS  float64      `json:"store_peak_rss_mib"` // of the store, or of the first server of Consul
	Rest      *load        `json:"load_on_consul,omitempty"`
	Lost      int          `json:"failover_shards"`
	Failover  float64      `json:"failover_durable_seconds"` // from the report of the death until the store has a new primary for every shard
	Change    leaderChange `json:"leader_change"`
}

const app = "scale"

type config struct {
	binary, store             string
	consulServers             int
	shards, replicas, servers int
	patience, rest            time.Duration
}

func main() {
	var c config
	flag.StringVar(&c.binary, "binary", "", "the shardmanager binary (default: built from ./cmd/shardmanager)")
	flag.StringVar(&c.store, "store", "embedded", "coordination store: embedded or consul")
	flag.IntVar(&c.consulServers, "consul-servers", 1, "servers of Consul, with that store: 1, or 3 that elect a leader")
	flag.IntVar(&c.shards, "shards", 100_000, "shards of the app")
	flag.IntVar(&c.replicas, "replicas", 1, "replicas of a shard: 1 is primary-only, more are primary-secondary")
	flag.IntVar(&c.servers, "servers", 1_000, "simulated servers")
	flag.DurationVar(&c.patience, "patience", 10*time.Minute, "how long everything may take")
	flag.DurationVar(&c.rest, "rest", 20*time.Second, "how long to measure at rest; agents ask Consul for the leader every 30 s")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second one ends it at once
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func (c config) validate() error {
	if c.shards < 1 || c.replicas < 1 || c.servers < c.replicas+2 {
		return errors.New("-shards, -replicas, -servers: expected at least 1 shard and replica, a server for each replica, and two more")
	}
	if c.store != "embedded" && c.store != "consul" {
		return fmt.Errorf("-store: %q: expected embedded or consul", c.store)
	}
	return nil
}

func run(ctx context.Context, c config) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := newPlane(ctx, c, dir)
	defer func() { err = errors.Join(err, p.stop()) }()
	if err != nil {
		return err
	}
	if err := p.start(ctx, c); err != nil {
		return err
	}
	agents, end := context.WithCancel(ctx)
	defer end()
	r, err := measure(ctx, agents, p, c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// measure does everything in turn. agents is the context of the simulated agents.
func measure(ctx, agents context.Context, p *plane, c config) (result, error) {
	r := result{Case: "scale", Store: c.store, Shards: c.shards, Replicas: c.replicas, Servers: c.servers}
	if p.consul != nil {
		r.Store = fmt.Sprintf("consul, %d", len(p.consul.Servers))
	}
	began := time.Now()
	f, err := attachAll(agents, p, c.servers)
	if err != nil {
		return r, err
	}
	r.Attach = time.Since(began).Seconds()
	fmt.Fprintf(os.Stderr, "%d servers attached after %.1f s\n", c.servers, r.Attach)
	watching, err := p.dial()
	if err != nil {
		return r, err
	}
	assigned := followRows(agents, watching)
	if err := place(ctx, p, f, assigned, c, &r); err != nil {
		return r, err
	}
	fmt.Fprintf(os.Stderr, "placed: durable after %.2f s, held after %.2f s\n", r.Durable, r.Placed)
	if err := p.rest(ctx, c.rest, &r); err != nil {
		return r, err
	}
	lost, took, err := failover(ctx, f, assigned, c.shards)
	if err != nil {
		return r, err
	}
	r.Lost, r.Failover = lost, took.Seconds()
	fmt.Fprintf(os.Stderr, "%d shards failed over, durable after %.3f s\n", r.Lost, r.Failover)
	if _, err := assigned.until(ctx, "the end of the failover", func(r *rows) bool { return r.open == 0 }); err != nil {
		return r, err
	}
	if c.replicas == 1 { // secondaries that are drained are no open moves of rows
		r.Change, err = changeLeader(ctx, p, f, assigned)
	}
	return r, err
}

// place creates the app and waits until all of it is assigned.
func place(ctx context.Context, p *plane, f *fleet, assigned *rows, c config, r *result) error {
	leader, err := p.leader(ctx)
	if err != nil {
		return err
	}
	spec := &pb.AppSpec{
		Name: app, KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: uint32(c.shards)}}},
		Placement: &pb.Placement{MaxConcurrentMoves: 1 << 20, MaxConcurrentMovesPerServer: 1 << 20},
	}
	if c.replicas > 1 {
		spec.Replication, spec.Replicas = pb.Replication_REPLICATION_PRIMARY_SECONDARY, uint32(c.replicas)
	}
	began := time.Now()
	if _, err := leader.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: spec}); err != nil {
		return err
	}
	durable, err := assigned.until(ctx, "initial assignment", func(r *rows) bool { return r.placed == c.shards })
	if err != nil {
		return err
	}
	r.Durable = durable.Sub(began).Seconds()
	err = f.placed(ctx, c.shards*c.replicas)
	r.Placed = time.Since(began).Seconds()
	return err
}

// rest lets everything rest, and reads what the kernel and Consul know of that time.
func (p *plane) rest(ctx context.Context, rest time.Duration, r *result) error {
	leader, err := p.leader(ctx)
	if err != nil {
		return err
	}
	before, err := usage.CPUTime(leader.PID())
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "at rest for %v; operators' page: %s\n", rest, leader.page)
	began, store := time.Now(), p.embedded
	if p.consul != nil {
		l, err := measureConsul(ctx, p.consul.Addresses(), rest)
		if err != nil {
			return err
		}
		r.Rest, store = &l, p.consul.Servers[0].Unit
		fmt.Fprintf(os.Stderr, "at rest: %.1f requests/s, %.1f writes/s\n", l.Requests, l.Writes)
	} else {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	after, err := usage.CPUTime(leader.PID())
	if err != nil {
		return err
	}
	r.IdleCores = (after - before).Seconds() / time.Since(began).Seconds()
	sizes, err := usage.Sizes(leader.PID())
	if err != nil {
		return err
	}
	stores, err := usage.Sizes(store.PID())
	r.RSS, r.PeakRSS, r.AnonRSS, r.StoreRSS = sizes["VmRSS"], sizes["VmHWM"], sizes["RssAnon"], stores["VmHWM"]
	return err
}
