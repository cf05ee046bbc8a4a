package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/figure"
	"github.com/shardmanager/shardmanager/bench/rollout/fleet"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Regions of the experiment. The first one dies; shards whose ids begin with these digits prefer it, four of ten.
var (
	regions  = []string{"west", "east", "north"}
	prefixes = []string{"0", "1", "2", "3"}
)

// regionResult is the line of the experiment. Seconds count from the first event of each kind.
type regionResult struct {
	Experiment string  `json:"experiment"`
	Servers    int     `json:"servers"`
	Shards     int     `json:"shards"`
	Preferring int     `json:"shards_that_prefer_the_region"`
	Rate       int     `json:"requests_per_second"`
	Dies       float64 `json:"dies_at_second"`
	Returns    float64 `json:"returns_at_second"`
	Before     counted `json:"before"`
	Away       counted `json:"from_death_to_return"`
	After      counted `json:"after_return"`
	Unserved   float64 `json:"seconds_with_failures_after_death"`
	Whole      float64 `json:"seconds_until_all_replicas_are_back"`
	Home       float64 `json:"seconds_until_home_after_return"`
	FailedHome int     `json:"failed_while_it_returns"`
	Moves      int     `json:"moves_of_primaries"`
	Alone      int     `json:"shards_with_all_replicas_there_at_death"`
	Lost       int64   `json:"lost_writes"`
}

// verdict says what was broken.
func (r *regionResult) verdict() error {
	if r.Lost > 0 {
		return fmt.Errorf("%d acknowledged writes were lost; %d shards had no replica in sync in another region when theirs died", r.Lost, r.Alone)
	}
	return nil
}

// region lets a region die with all its servers, and return.
func region(ctx context.Context, c config) (any, error) {
	r := regionResult{Experiment: "region", Servers: len(regions) * c.servers, Shards: c.shards, Rate: c.rate, Dies: c.dies.Seconds(), Returns: c.returns.Seconds(), Whole: -1, Home: -1}
	var all []fleet.Place
	for _, name := range regions {
		all = append(all, places(c.servers, name)...)
	}
	f, err := c.fleet("region", c.preferring(), all, usual)
	if err != nil {
		return r, err
	}
	e := &regionRun{c: c, f: f, regionOf: map[string]string{}, result: &r}
	for _, s := range f.Servers() {
		e.regionOf[s.ID()] = s.Region
	}
	err = e.run(ctx)
	if err = errors.Join(err, f.Stop()); err != nil {
		return r, err
	}
	return r, errors.Join(e.figure().Write(c.out), r.verdict())
}

// preferring is the spec: two replicas in two regions, and the primaries of some shards in the first.
func (c config) preferring() *pb.AppSpec {
	spec := c.spec(len(regions) * c.servers)
	spec.Replication, spec.Replicas = pb.Replication_REPLICATION_PRIMARY_SECONDARY, 2
	spec.Policy = &pb.Policy{Goals: []*pb.Goal{{Tier: 1, Kind: &pb.Goal_Spread{Spread: &pb.Spread{Over: &pb.Spread_Domain{Domain: pb.FaultDomain_FAULT_DOMAIN_REGION}, Limit: &pb.Spread_AtLeastDomains{AtLeastDomains: 2}}}}}}
	for _, prefix := range prefixes {
		spec.Policy.Shards = append(spec.Policy.Shards, &pb.ShardPolicy{Shards: &pb.ShardPolicy_Prefix{Prefix: prefix}, Goals: []*pb.Goal{
			{Tier: 2, Kind: &pb.Goal_RegionPreference{RegionPreference: &pb.RegionPreference{Regions: regions[:1]}}},
		}})
	}
	return spec
}

// regionRun is the experiment under way.
type regionRun struct {
	c        config
	f        *fleet.Fleet
	regionOf map[string]string // of servers
	result   *regionResult
	began    time.Time
	zero     int64
	requests []requests.Request
	replicas sampled
	primary  sampled
}

func (e *regionRun) run(ctx context.Context) error {
	if err := errors.Join(e.f.Start(ctx), e.f.StartLoad(ctx)); err != nil {
		return err
	}
	if !clock.Pause(ctx, 5*time.Second) { // the first seconds are not steady
		return ctx.Err()
	}
	e.zero, e.began = clock.Now().Raw, time.Now()
	watching, end := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() {
		for clock.Pause(watching, time.Second) {
			e.look()
		}
	})
	err := e.play(ctx)
	end()
	watched.Wait()
	last, list, stopped := e.f.StopLoad()
	e.requests, e.result.Lost = list, last.LostWrites
	_, e.result.Moves, _ = e.f.Watch.Moves()
	if err := errors.Join(err, stopped); err != nil {
		return err
	}
	e.sum()
	return nil
}

// play lets the region die, and return, and waits until all is where it should be.
func (e *regionRun) play(ctx context.Context) error {
	if !clock.Pause(ctx, e.c.dies-time.Since(e.began)) {
		return ctx.Err()
	}
	var mine []*fleet.Server
	for _, s := range e.f.Servers() {
		if s.Region == regions[0] {
			mine = append(mine, s)
		}
	}
	e.result.Alone = e.alone()
	e.f.Say("%s dies: %d servers, and %d shards with all that they have", regions[0], len(mine), e.result.Alone)
	if err := fleet.CrashTogether(ctx, mine); err != nil {
		return err
	}
	if !clock.Pause(ctx, e.c.returns-time.Since(e.began)) {
		return ctx.Err()
	}
	e.f.Say("%s returns", regions[0])
	for _, s := range mine {
		if err := s.Begin(); err != nil {
			return err
		}
	}
	for e.result.Home < 0 && time.Since(e.began) < e.c.returns+e.c.patience() && clock.Pause(ctx, time.Second) {
	}
	e.f.Say("home after %.0f s", e.result.Home)
	clock.Pause(ctx, e.c.steady)
	return ctx.Err()
}

// alone counts the shards without a replica in sync outside the first region, as routers know it.
func (e *regionRun) alone() int {
	elsewhere := map[int]bool{}
	e.f.Watch.Count(func(index int, server string, _ bool) {
		if e.regionOf[server] != regions[0] {
			elsewhere[index] = true
		}
	})
	return e.c.shards - len(elsewhere)
}

// patience is how long the way home may take.
func (c config) patience() time.Duration { return 3*time.Minute + c.startUp }

// look samples where replicas are.
func (e *regionRun) look() {
	second := int(time.Since(e.began).Seconds())
	counts, home, placed := map[string]int{}, 0, 0
	width := len(fmt.Sprint(e.c.shards - 1))
	e.f.Watch.Count(func(index int, server string, primary bool) {
		where := e.regionOf[server]
		counts[where]++
		placed++
		if primary && strings.ContainsAny(fmt.Sprintf("%0*d", width, index)[:1], strings.Join(prefixes, "")) {
			counts["primary in "+where]++
			if where == regions[0] {
				home++
			}
		}
	})
	if second == 0 || e.result.Preferring == 0 { // as it was in the beginning
		for _, where := range regions {
			e.result.Preferring += counts["primary in "+where]
		}
	}
	for _, where := range regions {
		e.replicas.add(second, where, float64(counts[where]))
		e.primary.add(second, where, float64(counts["primary in "+where]))
	}
	since := time.Since(e.began)
	if e.result.Whole < 0 && since > e.c.dies+time.Second && since < e.c.returns && counts[regions[0]] == 0 && placed == 2*e.c.shards {
		e.result.Whole = (since - e.c.dies).Seconds()
	}
	if e.result.Home < 0 && since > e.c.returns+e.c.startUp && home == e.result.Preferring {
		e.result.Home = (since - e.c.returns).Seconds()
	}
}

func (e *regionRun) sum() {
	all := bySecond(e.requests, e.zero, every)
	dies, returns := int(e.c.dies.Seconds()), int(e.c.returns.Seconds())
	r := e.result
	r.Before, r.Away, r.After = all.sum(0, dies-2), all.sum(dies-2, returns-2), all.sum(returns-2, math.MaxInt/2)
	for i, n := range all.all {
		if second := all.first + i; n > all.ok[i] && second < returns-2 && second >= dies-2 {
			r.Unserved = max(r.Unserved, float64(second+1-dies))
		}
	}
	r.FailedHome = r.After.Failed
}

func (e *regionRun) figure() *figure.Figure {
	all := bySecond(e.requests, e.zero, every)
	return &figure.Figure{
		Title: fmt.Sprintf("%d shards with two replicas on %d servers in three regions; %d prefer %s, which dies and returns", e.c.shards, len(regions)*e.c.servers, e.result.Preferring, regions[0]),
		Time:  "seconds", Marks: []figure.Mark{{Second: e.c.dies.Seconds(), Text: regions[0] + " dies"}, {Second: e.c.returns.Seconds(), Text: "returns"}},
		Panels: []figure.Panel{
			{Label: "failed requests a second", Series: []figure.Series{all.failures("failed")}},
			{Label: "latency, ms", Log: true, Series: []figure.Series{all.latency("p50", 50), all.latency("p99", 99)}},
			{Label: "replicas", Series: e.replicas.series},
			{Label: "primaries that prefer " + regions[0], Series: e.primary.series},
		},
	}
}
