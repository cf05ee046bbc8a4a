package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/figure"
	"github.com/shardmanager/shardmanager/bench/rollout/fleet"
	"github.com/shardmanager/shardmanager/internal/clock"
)

const (
	// noticed is how long a crash may go unnoticed by whoever approves: a lease, and a change of leaders in the middle of it.
	noticed = 25 * time.Second
	// lookEvery is how often the leader's reports are compared with the processes.
	lookEvery = 250 * time.Millisecond
	// forcedPatience is how long the upgrade may take.
	forcedPatience = 30 * time.Minute
)

// forcedResult is the line of the experiment.
type forcedResult struct {
	Experiment  string   `json:"experiment"`
	Servers     int      `json:"servers"`
	Shards      int      `json:"shards"`
	Seconds     float64  `json:"seconds"`
	Crashes     int      `json:"crashes"`
	Leaders     int      `json:"leaders_killed"`
	Cap         int      `json:"max_servers_down"`
	MostActive  int      `json:"most_approved_at_once"`
	MostPlanned int      `json:"most_down_by_the_deployer"`
	MostDown    int      `json:"most_down"`
	Violations  []string `json:"caps_exceeded"`
	Looks       int      `json:"looks"`
	Missed      []string `json:"servers_not_upgraded"`
	During      counted  `json:"during"`
	OverlapMS   int64    `json:"overlap_ms"`
	Lost        int64    `json:"lost_writes"`
	Repeated    int64    `json:"repeated_writes"`
	Stale       int64    `json:"stale_reads"`
	Operations  int      `json:"operations_checked"`
}

// forced upgrades all servers while others crash and leaders are killed.
func forced(ctx context.Context, c config) (any, error) {
	r := forcedResult{Experiment: "overlap", Servers: c.servers, Shards: c.shards, Cap: max(1, c.servers/10), Violations: []string{}, Missed: []string{}}
	f, err := c.fleet("overlap", c.spec(c.servers), places(c.servers, "eu"), recording)
	if err != nil {
		return r, err
	}
	e := &forcedRun{c: c, f: f, result: &r, crashed: map[*fleet.Server]time.Time{}}
	err = errors.Join(e.run(ctx), f.Stop())
	if err != nil {
		return r, err
	}
	report, err := f.Overlap()
	if err != nil {
		return r, err
	}
	r.OverlapMS, r.Operations = report.OverlapMS(), report.Operations
	if err := e.figure().Write(c.out); err != nil {
		return r, err
	}
	return r, r.verdict()
}

// verdict says what was broken.
func (r *forcedResult) verdict() error {
	var broken []error
	if len(r.Violations) > 0 {
		broken = append(broken, fmt.Errorf("caps were exceeded: %s", strings.Join(r.Violations, "; ")))
	}
	if r.OverlapMS > 0 || r.Lost+r.Repeated+r.Stale > 0 {
		broken = append(broken, fmt.Errorf("%d ms of overlap, %d writes lost, %d repeated, %d reads stale", r.OverlapMS, r.Lost, r.Repeated, r.Stale))
	}
	if len(r.Missed) > 0 {
		broken = append(broken, fmt.Errorf("not upgraded: %s", strings.Join(r.Missed, " ")))
	}
	return errors.Join(broken...)
}

// forcedRun is the experiment under way.
type forcedRun struct {
	c        config
	f        *fleet.Fleet
	result   *forcedResult
	began    time.Time
	zero     int64
	requests *requested
	downs    sampled
	marks    []figure.Mark

	mu      sync.Mutex
	active  map[string]bool             // servers of pieces that are approved, as the leader said last
	crashed map[*fleet.Server]time.Time // that are not up again
}

func (e *forcedRun) run(ctx context.Context) error {
	if err := errors.Join(e.f.Start(ctx), e.f.StartLoad(ctx)); err != nil {
		return err
	}
	if !clock.Pause(ctx, e.c.steady) {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, forcedPatience)
	defer cancel()
	e.zero, e.began = clock.Now().Raw, time.Now()
	playing, end := context.WithCancel(ctx)
	var group sync.WaitGroup
	failed := make([]error, 3)
	group.Go(func() { failed[0] = e.crash(playing) })
	group.Go(func() { failed[1] = e.unseat(playing) })
	looking, stopLooking := context.WithCancel(ctx)
	var looks sync.WaitGroup
	looks.Go(func() { e.look(looking) })
	said, err := e.rollout(ctx)
	e.f.Say("%s", said)
	e.result.Seconds = time.Since(e.began).Seconds()
	end()
	group.Wait()
	stopLooking()
	looks.Wait()
	failed[2] = err
	if err := errors.Join(failed...); err != nil {
		return err
	}
	clock.Pause(ctx, e.c.steady)
	if err := e.f.Settled(ctx); err != nil {
		return err
	}
	last, list, err := e.f.StopLoad()
	if err != nil {
		return err
	}
	for _, s := range e.f.Servers() {
		if !s.Upgraded() {
			e.result.Missed = append(e.result.Missed, s.ID())
		}
	}
	e.requests = bySecond(list, e.zero, every)
	e.result.During = e.requests.sum(0, int(math.Ceil(e.result.Seconds)))
	e.result.Lost, e.result.Repeated, e.result.Stale = last.LostWrites, last.RepeatedWrites, last.StaleReads
	return nil
}

// rollout upgrades everything; it is called again if a change of leaders took longer than it puts up with, as an operator would.
func (e *forcedRun) rollout(ctx context.Context) (said string, err error) {
	for range 5 {
		var more string
		more, err = e.f.Rollout(ctx, "v2", "TERM", e.f.Servers(), "--duration", "5m")
		said += more
		if err == nil {
			return said, nil
		}
		said += err.Error() + "\n"
	}
	return said, err
}

// crash kills servers at random, a tenth of them at most at once, and begins them again some seconds later.
func (e *forcedRun) crash(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	for clock.Pause(ctx, time.Duration(rand.ExpFloat64()*float64(e.c.crashes))) {
		s := e.f.Servers()[rand.IntN(e.c.servers)]
		e.mu.Lock()
		full := len(e.crashed) >= max(1, e.c.servers/10)
		_, again := e.crashed[s]
		e.mu.Unlock()
		if full || again || s.Down() || s.Crash(ctx) != nil {
			continue
		}
		e.f.Say("%s crashes", s.ID())
		e.mu.Lock()
		e.crashed[s] = time.Now()
		e.result.Crashes++
		e.mu.Unlock()
		group.Go(func() {
			clock.Pause(ctx, time.Second+rand.N(10*time.Second))
			if err := s.Begin(); err != nil {
				e.f.Say("%v", err)
			}
			for s.Down() && clock.Pause(context.WithoutCancel(ctx), lookEvery) {
			}
			e.mu.Lock()
			delete(e.crashed, s)
			e.mu.Unlock()
		})
	}
	return nil
}

// unseat kills the leader again and again.
func (e *forcedRun) unseat(ctx context.Context) error {
	for clock.Pause(ctx, e.c.changes) {
		leader, err := e.f.Leader(ctx)
		if err != nil {
			continue // none has been elected yet
		}
		e.f.Say("%s, which leads, is killed", leader.Name)
		if _, err := leader.Kill(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		e.result.Leaders++
		e.marks = append(e.marks, figure.Mark{Second: time.Since(e.began).Seconds()})
		clock.Pause(ctx, time.Second)
		if err := leader.Start(); err != nil {
			return err
		}
	}
	return nil
}

// look compares what the leader says with the processes, again and again.
func (e *forcedRun) look(ctx context.Context) {
	for clock.Pause(ctx, lookEvery) {
		active, err := e.f.Active(ctx)
		if err != nil {
			continue // between two leaders
		}
		e.compare(active, time.Now())
	}
}

func (e *forcedRun) compare(active map[string]bool, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.result
	r.Looks++
	planned, down, known := 0, 0, len(active)
	for _, s := range e.f.Servers() {
		at, crashed := e.crashed[s]
		if !s.Down() {
			continue
		}
		down++
		switch {
		case !crashed:
			planned++
		case !active[s.ID()] && now.Sub(at) > noticed:
			known++
		}
	}
	grown := false
	for id := range active {
		grown = grown || !e.active[id]
	}
	e.active = active
	second := int(now.Sub(e.began).Seconds())
	if len(active) > r.Cap {
		r.Violations = append(r.Violations, fmt.Sprintf("second %d: %d servers are approved", second, len(active)))
	}
	if grown && known > r.Cap {
		r.Violations = append(r.Violations, fmt.Sprintf("second %d: approved although %d of %d are approved or down for %s", second, known, r.Cap, noticed))
	}
	if planned > r.Cap {
		r.Violations = append(r.Violations, fmt.Sprintf("second %d: the deployer has %d servers down", second, planned))
	}
	r.MostActive, r.MostPlanned, r.MostDown = max(r.MostActive, len(active)), max(r.MostPlanned, planned), max(r.MostDown, down)
	if len(e.downs.series) == 0 || second >= len(e.downs.series[0].Values)+e.downs.series[0].First {
		e.downs.add(second, "approved", float64(len(active)))
		e.downs.add(second, "down by the deployer", float64(planned))
		e.downs.add(second, "crashed", float64(len(e.crashed)))
	}
}

func (e *forcedRun) figure() *figure.Figure {
	return &figure.Figure{
		Title: fmt.Sprintf("Upgrade of %d servers while others crash, and the leader is killed (dashed)", e.c.servers), Time: "seconds since the upgrade began", Marks: e.marks,
		Panels: []figure.Panel{
			{Label: "servers", Series: e.downs.series}, {Label: "requests answered, %", Series: []figure.Series{e.requests.success("answered")}},
			{Label: "latency, ms", Log: true, Series: []figure.Series{e.requests.latency("p50", 50), e.requests.latency("p99", 99)}},
		},
	}
}
