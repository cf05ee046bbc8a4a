package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/bench/rollout/figure"
	"github.com/shardmanager/shardmanager/internal/clock"
)

// warmed is what a rolling restart did to caches.
type warmed struct {
	Handover string  `json:"handover"`
	Seconds  float64 `json:"seconds"`
	Before   float64 `json:"hit_percent_before"`
	During   float64 `json:"hit_percent_during"`
	Worst    float64 `json:"worst_second_percent"`
	Failed   int64   `json:"failed"`
	rate     sampled
}

// warmResult is the line of the experiment.
type warmResult struct {
	Experiment string   `json:"experiment"`
	Servers    int      `json:"servers"`
	Shards     int      `json:"shards"`
	Keys       int      `json:"keys"`
	Rate       int      `json:"requests_per_second"`
	Handovers  []warmed `json:"handovers"`
}

// warm restarts all servers, with caches that go along and with caches that begin empty, and prints the hit rate of every second.
func warm(ctx context.Context, c config) (any, error) {
	r := warmResult{Experiment: "warm", Servers: c.servers, Shards: c.shards, Keys: c.keys, Rate: c.rate}
	f := figure.Figure{Title: "Cache hit rate through a rolling restart", Time: "seconds since the restart began", Panels: []figure.Panel{{Label: "cache hits, %"}}}
	for _, name := range []string{"warm", "cold"} {
		w, err := c.restartOnce(ctx, name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		r.Handovers = append(r.Handovers, w)
		f.Panels[0].Series = append(f.Panels[0].Series, w.rate.series...)
	}
	percent := func(v float64) string {
		if math.IsNaN(v) {
			return ""
		}
		return fmt.Sprintf("%.1f", v)
	}
	a, b := &f.Panels[0].Series[0], &f.Panels[0].Series[1]
	for second := min(a.First, b.First); second < max(a.First+len(a.Values), b.First+len(b.Values)); second++ {
		_, _ = fmt.Fprintf(c.progress, "%5d s  warm %5s %%  cold %5s %%\n", second, percent(a.At(second)), percent(b.At(second)))
	}
	return r, f.Write(c.out)
}

// restartOnce is a rolling restart on a fleet of its own.
func (c config) restartOnce(ctx context.Context, name string) (w warmed, err error) {
	w.Handover = name
	how := usual
	if name == "cold" {
		how = cold
	}
	f, err := c.fleet(name, c.spec(c.servers), places(c.servers, "eu"), how)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, f.Stop()) }()
	if err := errors.Join(f.Start(ctx), f.StartLoad(ctx)); err != nil {
		return w, err
	}
	before := time.Duration(2*c.keys/c.rate)*time.Second + c.steady // until caches know the keys
	began := time.Now().Add(before)
	sampling, end := context.WithCancel(ctx)
	var sampled sync.WaitGroup
	sampled.Go(func() {
		for clock.Pause(sampling, time.Second) {
			w.rate.add(int(math.Floor(time.Since(began).Seconds())), name, f.Requested().Rate)
		}
	})
	if clock.Pause(ctx, before) {
		var said string
		said, err = f.Rollout(ctx, "v2", "TERM", f.Servers())
		f.Say("%s", said)
		w.Seconds = time.Since(began).Seconds()
		clock.Pause(ctx, c.steady)
	}
	end()
	sampled.Wait()
	last, _, stopped := f.StopLoad()
	w.Failed, w.Worst = last.Failed, 100
	s := &w.rate.series[0]
	n := 0.0
	for second := range int(w.Seconds) {
		if v := s.At(second); !math.IsNaN(v) {
			w.During, w.Worst, n = w.During+v, min(w.Worst, v), n+1
		}
	}
	w.During, w.Before = w.During/max(1, n), s.At(-1)
	return w, errors.Join(err, stopped, ctx.Err())
}
