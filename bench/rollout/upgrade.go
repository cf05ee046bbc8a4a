package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/figure"
	"github.com/shardmanager/shardmanager/bench/rollout/fleet"
	"github.com/shardmanager/shardmanager/internal/clock"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// variant is a way to restart the servers.
type variant struct {
	name   string
	spares bool
	signal string
	impact string // of what is asked for; empty: nobody is asked
}

// variants of an upgrade: everything; without spare servers; at the pace that caps allow, but shards fail over; and as if nobody cared.
var variants = []variant{
	{"graceful", true, "TERM", "process-restart"},
	{"no spares", false, "TERM", "process-restart"},
	{"no moves", false, "KILL", "network-loss"},
	{"plain", false, "KILL", ""},
}

func variantNames() (names []string) {
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

// upgraded is what one variant gave.
type upgraded struct {
	Variant  string         `json:"variant"`
	Seconds  float64        `json:"seconds"`
	During   counted        `json:"during"`
	All      counted        `json:"all"`
	P99      float64        `json:"p99_before_ms"`
	Shards   int            `json:"shards_moved"`
	Mean     float64        `json:"moves_per_shard"`
	Most     int            `json:"most_moves_of_a_shard"`
	Reasons  map[string]int `json:"moves_by_reason"`
	Hops     int            `json:"moves_off_upgraded_servers"`
	MostDown int            `json:"most_servers_down"`
	Cap      int            `json:"max_servers_down"`
	Lost     int64          `json:"lost_writes"`
	requests *requested
	down     sampled
}

// upgradeResult is the line of the experiment.
type upgradeResult struct {
	Experiment string     `json:"experiment"`
	Servers    int        `json:"servers"`
	Shards     int        `json:"shards"`
	StartUp    float64    `json:"startup_seconds"`
	Rate       int        `json:"requests_per_second"`
	Ratio      float64    `json:"graceful_to_plain,omitempty"`
	Variants   []upgraded `json:"variants"`
}

// upgrade restarts all servers, a tenth of them at once, in several ways.
func upgrade(ctx context.Context, c config) (any, error) {
	r := upgradeResult{Experiment: "upgrade", Servers: c.servers, Shards: c.shards, StartUp: c.startUp.Seconds(), Rate: c.rate}
	f := figure.Figure{Title: fmt.Sprintf("Upgrade of %d servers with %d shards, a tenth at once", c.servers, c.shards), Time: "seconds since the upgrade began", Panels: []figure.Panel{
		{Label: "requests answered, %"}, {Label: "p99, ms", Log: true}, {Label: "servers down"},
	}}
	took := map[string]float64{}
	for _, v := range variants {
		if len(c.variants) > 0 && !slices.Contains(c.variants, v.name) {
			continue
		}
		u, err := c.upgradeOnce(ctx, v)
		if err != nil {
			return r, fmt.Errorf("%s: %w", v.name, err)
		}
		c.requests = 0 // the first variant alone runs longer
		r.Variants, took[v.name] = append(r.Variants, u), u.Seconds
		f.Panels[0].Series = append(f.Panels[0].Series, u.requests.success(v.name))
		f.Panels[1].Series = append(f.Panels[1].Series, u.requests.latency(v.name, 99))
		f.Panels[2].Series = append(f.Panels[2].Series, u.down.series...)
		if took["plain"] > 0 {
			r.Ratio = took["graceful"] / took["plain"]
		}
	}
	return r, f.Write(c.out)
}

// places are servers in three zones of a region.
func places(n int, region string) (list []fleet.Place) {
	for i := range n {
		list = append(list, fleet.Place{Name: fmt.Sprintf("%s-%02d", region, i+1), Region: region, Zone: fmt.Sprintf("%s-%d", region, i%3+1)})
	}
	return list
}

// spec of the example's app, with caps that let a tenth of so many servers be down.
func (c config) spec(servers int) *pb.AppSpec {
	most := uint32(max(1, servers/10))
	return &pb.AppSpec{
		Name: "kv", Replication: pb.Replication_REPLICATION_PRIMARY_ONLY, KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: uint32(c.shards)}}},
		Placement:   &pb.Placement{MaxConcurrentMoves: 400, MaxConcurrentMovesPerServer: 100},
		Maintenance: &pb.MaintenanceCaps{MaxServersDown: &most},
	}
}

// upgradeOnce is one variant on a fleet of its own.
func (c config) upgradeOnce(ctx context.Context, v variant) (u upgraded, err error) {
	u.Variant, u.Cap = v.name, max(1, c.servers/10)
	f, err := c.fleet(v.name, c.spec(c.servers), places(c.servers, "eu"), usual)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	f.Say("%s", v.name)
	if err := errors.Join(f.Start(ctx), f.StartLoad(ctx)); err != nil {
		return u, err
	}
	if !clock.Pause(ctx, c.steady) {
		return u, ctx.Err()
	}
	old := f.Servers()
	if v.spares {
		for _, p := range places(u.Cap, "spare") {
			p.Region, p.Zone = "eu", "eu-"+p.Zone[len(p.Zone)-1:]
			if err := f.Add(p); err != nil {
				return u, err
			}
		}
		if err := f.Attached(ctx, c.servers+u.Cap); err != nil {
			return u, err
		}
	}
	zero, began := clock.Now().Raw, time.Now()
	watching, end := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		var both sync.WaitGroup
		both.Go(func() { u.Reasons, u.Hops = f.Reasons(watching, 250*time.Millisecond) })
		both.Go(func() { u.watchDown(watching, v.name, began, old) })
		both.Wait()
	}()
	if v.impact == "" {
		err = c.plain(ctx, f, old, u.Cap)
	} else {
		var said string
		said, err = f.Rollout(ctx, "v2", v.signal, old, "--impact", v.impact, "--duration", "5m")
		f.Say("%s", said)
	}
	u.Seconds = time.Since(began).Seconds()
	end()
	<-watched
	if err != nil {
		return u, err
	}
	for _, s := range old {
		if s.Replaced() != 1 {
			err = errors.Join(err, fmt.Errorf("%s was restarted %d times", s.ID(), s.Replaced()))
		}
	}
	clock.Pause(ctx, c.steady)
	for f.Requested().Requests < c.requests && clock.Pause(ctx, time.Second) {
	}
	var total int
	u.Shards, total, u.Most = f.Watch.Moves()
	u.Mean = float64(total) / float64(c.shards)
	last, list, stopped := f.StopLoad()
	if err := errors.Join(err, stopped); err != nil {
		return u, err
	}
	u.Lost = last.LostWrites
	u.requests = bySecond(list, zero, every)
	u.During, u.All = u.requests.sum(0, int(math.Ceil(u.Seconds))+1), u.requests.sum(math.MinInt/2, math.MaxInt/2)
	u.P99 = u.requests.sum(-int(c.steady.Seconds())+1, 0).P99
	return u, nil
}

// watchDown counts, every second, the servers that are down.
func (u *upgraded) watchDown(ctx context.Context, name string, began time.Time, servers []*fleet.Server) {
	for clock.Pause(ctx, 200*time.Millisecond) {
		n := 0
		for _, s := range servers {
			if s.Down() {
				n++
			}
		}
		u.MostDown = max(u.MostDown, n)
		if second := int(time.Since(began).Seconds()); len(u.down.series) == 0 || second >= len(u.down.series[0].Values) {
			u.down.add(second, name, float64(n))
		}
	}
}

// plain restarts servers batch by batch, as a deployer does who knows of no shards: the next batch follows when this one is attached again.
func (c config) plain(ctx context.Context, f *fleet.Fleet, servers []*fleet.Server, batch int) error {
	for first := 0; first < len(servers); first += batch {
		some := servers[first:min(first+batch, len(servers))]
		before, err := f.States(ctx)
		if err != nil {
			return err
		}
		for _, s := range some {
			if err := s.Replace(); err != nil {
				return err
			}
		}
		if !clock.Pause(ctx, c.startUp) {
			return ctx.Err()
		}
		if err := f.Back(ctx, before, some); err != nil {
			return err
		}
	}
	return nil
}
