package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/bench/soak/vitals"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	// perPlanned is how many faults there are for each planned event.
	perPlanned = 15
	// mostDown is how many servers faults may hold at once, a third: were most of them gone, the leader would rightly hold and wait for a person.
	mostDown = 2
	// aimTries bounds the draws of a fault that has a victim now.
	aimTries = 30
	// sampleEvery is how often vitals are noted.
	sampleEvery = 5 * time.Second
	// tail is of load after the cluster has settled for the last time.
	tail = 3 * time.Second
)

// event is a fault that happened. Instants are CLOCK_MONOTONIC_RAW, in nanoseconds.
type event struct {
	Kind, Victim string
	At           int64    // just before it; 0: it did not come to that
	Recovered    int64    // when what it was about had recovered
	Shards       []uint32 // that the victim served
}

// took notes that what the fault is about has recovered, if it has not before.
func (e *event) took(at int64) {
	if e.Recovered == 0 {
		e.Recovered = at
	}
}

// window is the time of a planned event without faults.
type window struct {
	Kind     string
	From, To int64
	Load     float64 // average of the machine, the most
}

// run is a soak under way.
type run struct {
	*cluster
	began  time.Time
	random *rand.Rand // of the loop
	faults sync.WaitGroup
	vitals vitals.Log

	first, last int64
	windows     []window
	loadMost    float64

	mu     sync.Mutex
	busy   map[string]bool
	borne  map[string]bool // programs that may end by themselves
	events []*event
	kills  []overlap.Kill
	broken []string
}

func newRun(cfg config) (*run, error) {
	r := &run{began: time.Now(), random: rand.New(rand.NewPCG(cfg.seed, 0)), busy: map[string]bool{}, borne: map[string]bool{}}
	var err error
	r.cluster, err = newCluster(cfg, r.ended)
	return r, err
}

func (r *run) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.cfg.progress, "%7.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// broke notes a broken promise.
func (r *run) broke(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.broken = append(r.broken, text)
	r.mu.Unlock()
	r.say("BROKEN: %s", text)
}

// bear lets a program end by itself, or no more.
func (r *run) bear(u *process.Unit, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.borne[u.Name] = may
}

// ended is about a program that ended although nobody ended it. It is started again, so that the run goes on.
func (r *run) ended(u *process.Unit, err error) {
	r.mu.Lock()
	borne := r.borne[u.Name]
	r.mu.Unlock()
	if borne {
		return // whoever lets it starts it again
	}
	r.broke("%v", err)
	if err := u.Start(); err != nil {
		r.say("%v", err)
	}
}

// mostServers is how many servers faults may hold at once.
func (r *run) mostServers() int {
	if r.cfg.mode == layout.PrimarySecondary {
		return 1
	}
	return mostDown
}

// bears reports whether a replica may be lost now: elsewhere storage keeps the data, but replicas in memory must all be in sync first.
func (r *run) bears(ctx context.Context) bool {
	if r.cfg.mode != layout.PrimarySecondary {
		return true
	}
	status, err := r.status(ctx, r.places.AdminAddresses()...)
	return err == nil && status.GetOpenMoves() == 0 && status.GetUnplaced() == 0 && status.GetLacking() == 0 && r.watch.Placed(ctx) == nil
}

// status asks the allocators for theirs; of several, the leader.
func (r *run) status(ctx context.Context, addresses ...string) (*pb.GetStatusResponse, error) {
	c := &operator.Client{Addresses: addresses, Within: 2 * time.Second}
	if len(addresses) == 1 {
		return operator.Any(ctx, c, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
	}
	return operator.Leader(ctx, c, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
}

// soak plays faults until the time is over or ctx ends; then it waits until all is well, and ends the load. What is not well then is broken.
func (r *run) soak(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	r.say("%d shards on %d servers, %d requests a second, seed %d", layout.Shards, len(r.servers), r.cfg.rate, r.cfg.seed)
	sampling, end := context.WithCancel(context.WithoutCancel(ctx))
	var sampler sync.WaitGroup
	sampler.Go(func() { r.sample(sampling) })
	clock.Pause(ctx, 2*time.Second) // the first second is not steady
	r.first = clock.Now().Raw
	r.play(ctx)
	last := context.WithoutCancel(ctx) // what was begun is brought to its end
	r.faults.Wait()
	r.heal()
	r.say("no more faults; all has to settle")
	if err := r.settled(last); err != nil {
		r.broke("stuck at the end: %v", err)
	}
	clock.Pause(last, tail)
	r.last = clock.Now().Raw
	end()
	sampler.Wait()
	if err := r.load.Stop(loadPatience); err != nil {
		return err
	}
	if line, _, bad := r.lines.Now(); !line.Final {
		return fmt.Errorf("the load generator ended without a last line %s; %s", bad, r.load.Tail())
	}
	return nil
}

// play plays faults one after another, each in its own time, and planned events between them.
func (r *run) play(ctx context.Context) {
	until := time.Now().Add(r.cfg.length)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	planned := 0
	for n := 1; ctx.Err() == nil; n++ {
		random := rand.New(rand.NewPCG(r.cfg.seed, uint64(n)))
		if n%(perPlanned+1) == 0 {
			if err := r.quiet(ctx, planned); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Cause(ctx))) {
				r.broke("planned: %v", err)
			}
			planned++
			continue
		}
		if f, ok := r.choose(ctx, random); ok {
			r.strike(context.WithoutCancel(ctx), n, f)
		}
		if !clock.Pause(ctx, r.cfg.every/2+time.Duration(random.Int64N(int64(r.cfg.every)))) {
			return
		}
	}
}

// choose draws a fault that has a victim.
func (r *run) choose(ctx context.Context, random *rand.Rand) (*fault, bool) {
	list, sum := kinds(), 0
	for _, k := range list {
		sum += k.weight
	}
	for range aimTries {
		n := random.IntN(sum)
		var k kind
		for _, k = range list {
			if n -= k.weight; n < 0 {
				break
			}
		}
		r.mu.Lock()
		f, ok := r.aim(ctx, k, random)
		r.mu.Unlock()
		if ok {
			return f, true
		}
	}
	return nil, false
}

// strike lets a fault happen, beside others.
func (r *run) strike(ctx context.Context, n int, f *fault) {
	f.event = &event{Kind: f.kind.name, Victim: f.victim()}
	if f.server != nil {
		f.event.Shards = r.watch.ShardsAt(f.server.ID())
	}
	r.mu.Lock()
	r.events = append(r.events, f.event)
	r.mu.Unlock()
	r.say("#%d %s, which serves %d shards", n, f, len(f.event.Shards))
	r.faults.Go(func() {
		err := f.kind.play(ctx, f)
		f.event.took(clock.Now().Raw)
		r.mu.Lock()
		delete(r.busy, f.holds())
		r.mu.Unlock()
		if err != nil {
			r.broke("%s: %v", f, err)
			return
		}
		r.say("#%d %s: over after %.1f s", n, f, float64(f.event.Recovered-f.event.At)/float64(time.Second))
	})
}

// sample notes vitals until ctx ends.
func (r *run) sample(ctx context.Context) {
	for clock.Pause(ctx, sampleEvery) {
		r.loadMost = max(r.loadMost, loadAverage())
		for _, u := range r.all() {
			pid := u.PID()
			if !u.Running() {
				continue
			}
			if s, err := vitals.Of(pid); err == nil && u.PID() == pid {
				s[vitals.Goroutines] = r.goroutines(ctx, u)
				r.vitals.Add(u.Name, pid, time.Since(r.began), s)
			}
		}
	}
}

// goroutines asks a program for their number; −1: it does not say.
func (r *run) goroutines(ctx context.Context, u *process.Unit) int64 {
	for i, a := range r.allocators {
		if a == u {
			if status, err := r.status(ctx, r.places.Allocators[i].Admin); err == nil {
				return int64(status.GetGoroutines())
			}
		}
	}
	for _, s := range r.servers {
		if s.agent == u {
			if n, err := goroutinesOf(ctx, s.Sock); err == nil {
				return n
			}
		}
	}
	return -1
}

func goroutinesOf(ctx context.Context, socket string) (int64, error) {
	endpoint, err := transport.Dial("unix://" + socket)
	if err != nil {
		return -1, err
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).Status(ctx, &pb.StatusRequest{})
	return int64(status.GetGoroutines()), err
}

// loadAverage is the machine's over the last minute; 0: not known.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseFloat(first, 64)
	return n * boolean(err == nil)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// histories reads what all applications recorded; kills of processes that had not begun to record are left out.
func (r *run) histories() (all []overlap.History, kills []overlap.Kill, err error) {
	for _, s := range r.servers {
		list, err := overlap.Read(r.places.History(s.Server))
		if err != nil {
			return nil, nil, err
		}
		all = append(all, list...)
	}
	known := map[overlap.Process]bool{}
	for _, h := range all {
		known[h.Process] = true
	}
	for _, k := range r.kills {
		if known[k.Process] {
			kills = append(kills, k)
		}
	}
	if len(all) == 0 {
		err = errors.New("no application recorded anything")
	}
	return all, kills, err
}
