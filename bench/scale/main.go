// Command scale measures an allocator with many shards and servers: a real store and a real allocator, each a process of its own, and
// simulated agents in this one, which attach over real sockets, renew, and do every command at once. It prints one JSON line.
//
//	go run ./bench/scale -shards 100000 -replicas 2 -servers 1000
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord/embedded"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// result is what is measured.
type result struct {
	Case      string  `json:"case"`
	Shards    int     `json:"shards"`
	Replicas  int     `json:"replicas"`
	Servers   int     `json:"servers"`
	Attach    float64 `json:"attach_seconds"`     // until every agent was welcomed
	Placed    float64 `json:"placed_seconds"`     // from the creation of the app until every replica is where it should be
	RSS       float64 `json:"rss_mib"`            // of the allocator, at rest after that
	PeakRSS   float64 `json:"peak_rss_mib"`       // of the allocator, at its highest
	AnonRSS   float64 `json:"rss_anon_mib"`       // of RSS, what is no file
	IdleCores float64 `json:"idle_cores"`         // of the allocator, at rest
	Store     float64 `json:"store_peak_rss_mib"` // of the store
}

const app = "scale"

type config struct {
	binary                    string
	shards, replicas, servers int
	patience, rest            time.Duration
}

func main() {
	var c config
	flag.StringVar(&c.binary, "binary", ".bin/shardmanager", "the shardmanager binary")
	flag.IntVar(&c.shards, "shards", 100_000, "shards of the app")
	flag.IntVar(&c.replicas, "replicas", 2, "replicas of a shard: 1 is primary-only, more are primary-secondary")
	flag.IntVar(&c.servers, "servers", 1_000, "simulated servers")
	flag.DurationVar(&c.patience, "patience", 10*time.Minute, "how long everything may take")
	flag.DurationVar(&c.rest, "rest", 20*time.Second, "how long to measure at rest")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) (err error) {
	if c.shards < 1 || c.replicas < 1 || c.servers < c.replicas {
		return errors.New("-shards, -replicas, -servers: expected at least 1 shard and replica, and a server for each replica")
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var p plane
	defer func() { p.stop() }()
	if err := p.start(ctx, c, dir); err != nil {
		return err
	}
	r := result{Case: "scale", Shards: c.shards, Replicas: c.replicas, Servers: c.servers}
	store, err := embedded.NewClient(p.storeAddress)
	if err != nil {
		return err
	}
	defer store.Close()
	began := time.Now()
	f, err := attachAll(ctx, store, p.address, c.servers)
	if err != nil {
		return err
	}
	r.Attach = time.Since(began).Seconds()
	fmt.Fprintf(os.Stderr, "%d servers attached after %.1f s\n", c.servers, r.Attach)
	began = time.Now()
	if err := p.createApp(ctx, c); err != nil {
		return err
	}
	if err := f.placed(ctx, c.shards*c.replicas); err != nil {
		return err
	}
	r.Placed = time.Since(began).Seconds()
	if err := p.measure(ctx, c.rest, &r); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// plane is the store and the allocator.
type plane struct {
	store, allocator      *exec.Cmd
	storeAddress, address string
	admin                 shardmanagerv1connect.AdminServiceClient
}

func (p *plane) start(ctx context.Context, c config, dir string) error {
	addresses, err := freeAddresses(3)
	if err != nil {
		return err
	}
	p.storeAddress, p.address = addresses[0], addresses[1]
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	begin := func(args ...string) (*exec.Cmd, error) {
		cmd := exec.Command(c.binary, args...)
		cmd.Stdout, cmd.Stderr = log, log
		return cmd, cmd.Start()
	}
	if p.store, err = begin("store", "--listen", p.storeAddress, "--data-dir", filepath.Join(dir, "store")); err != nil {
		return err
	}
	if p.allocator, err = begin("allocator", "--cluster", "scale", "--name", "a1", "--listen", p.address, "--admin-listen", addresses[2],
		"--store", "embedded", "--store-address", p.storeAddress, "--state-dir", filepath.Join(dir, "a1"), "--log-level", "warn"); err != nil {
		return err
	}
	endpoint, err := transport.Dial(addresses[2])
	if err != nil {
		return err
	}
	p.admin = shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL)
	return p.leading(ctx, filepath.Join(dir, "log"))
}

// leading waits until the allocator leads.
func (p *plane) leading(ctx context.Context, log string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := p.admin.GetStatus(ctx, &pb.GetStatusRequest{})
		if err == nil && status.GetLeading() {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			said, _ := os.ReadFile(log)
			return fmt.Errorf("the allocator does not lead: %w; it said: %s", errors.Join(ctx.Err(), err), said)
		}
	}
}

func (p *plane) createApp(ctx context.Context, c config) error {
	spec := &pb.AppSpec{
		Name: app, KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: uint32(c.shards)}}},
		Placement: &pb.Placement{MaxConcurrentMoves: 1 << 20, MaxConcurrentMovesPerServer: 1 << 20},
	}
	if c.replicas > 1 {
		spec.Replication, spec.Replicas = pb.Replication_REPLICATION_PRIMARY_SECONDARY, uint32(c.replicas)
	}
	_, err := p.admin.CreateApp(ctx, &pb.CreateAppRequest{Spec: spec})
	return err
}

// measure lets everything rest and reads what the kernel knows of the processes.
func (p *plane) measure(ctx context.Context, rest time.Duration, r *result) error {
	before, err := cpuTime(p.allocator.Process.Pid)
	if err != nil {
		return err
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := cpuTime(p.allocator.Process.Pid)
	if err != nil {
		return err
	}
	r.IdleCores = (after - before).Seconds() / rest.Seconds()
	allocator, err := statusOf(p.allocator.Process.Pid)
	if err != nil {
		return err
	}
	store, err := statusOf(p.store.Process.Pid)
	r.RSS, r.PeakRSS, r.AnonRSS, r.Store = allocator["VmRSS"], allocator["VmHWM"], allocator["RssAnon"], store["VmHWM"]
	return err
}

func (p *plane) stop() {
	for _, cmd := range []*exec.Cmd{p.allocator, p.store} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

// statusOf reads the sizes of a process, in MiB.
func statusOf(pid int) (map[string]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	sizes := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if kib, ok := strings.CutSuffix(strings.TrimSpace(value), " kB"); ok {
			n, err := strconv.ParseFloat(kib, 64)
			if err != nil {
				return nil, err
			}
			sizes[name] = n / 1024
		}
	}
	return sizes, nil
}

// ticksPerSecond is the kernel's USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// cpuTime is the processor time that a process has used.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
