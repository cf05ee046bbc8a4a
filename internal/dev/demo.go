package dev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/judge"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/dev/page"
)

// demo shows the main job: it brings a cluster up, plays planned and unplanned events under load, and runs on until ctx ends.
func demo(ctx context.Context, cfg Config, dir string, console *console) error {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c, err := newCluster(cfg, dir, func(err error) { cancel(err) })
	if err != nil {
		return err
	}
	player := newPlayer(c.failed)
	s := &stage{cluster: c, tell: func(text string) {
		console.say(yellow, "%s", text)
		player.said(text)
	}}
	defer c.openPage(player, console)()
	console.say(bold, "starting %s, %d allocators, %d servers (an agent and an application each), in %s", c.storeText(), len(c.allocators), len(c.servers), dir)
	err = s.show(running, player, console)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is how a demo ends
	}
	console.say(bold, "stopping: load, applications, agents, allocators, stores")
	if err = cmp.Or(err, c.stopLoadIfRunning(), c.stop()); err != nil || s.first == 0 {
		return err
	}
	return s.conclude(console)
}

// show plays the demo's events; it returns when the context ends.
func (s *stage) show(ctx context.Context, player *player, console *console) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, v := range s.servers {
		of, _ := s.watch.ShardsOf()
		console.say(plain, "%s in %s: %d shards", v.place.ID(), v.place.Zone, of[v.place.ID()])
	}
	console.say(plain, "look at it from another terminal: shardmanager servers --admin %s; in a browser: %s", s.layout.Allocators[0].Admin, s.layout.Allocators[0].Page())
	if err := s.startLoad(ctx); err != nil {
		return err
	}
	console.say(green, "load: %d requests a second, half of them writes, every answer checked", s.cfg.Rate)
	summary, stop := context.WithCancel(ctx)
	defer stop()
	go s.summarise(summary, console)
	if s.cfg.NoTour {
		return player.serve(ctx, s, console)
	}
	player.close("The tour goes on in a moment; after it, it is your turn.")
	if err := clock.Sleep(ctx, judge.Steady/2); err != nil {
		return err
	}
	for _, part := range []struct {
		name, title string
		play        play
	}{
		{"drain", "drain: move every shard away from a server, and back", drain},
		{"crash", "crash: kill -9 applications", crash(demoTrials)},
		{"rolling-restart", "rolling restart: replace every server by its next version", rollingRestart},
	} {
		console.say(bold, "%s", part.title)
		if err := player.perform(ctx, s, part.name, part.play); err != nil {
			return err
		}
	}
	console.say(green, "that was all; it runs on until Ctrl-C")
	return player.serve(ctx, s, console)
}

// openPage serves the status page, if one is wanted; the demo goes on without it where it cannot be. The function that is returned ends it.
func (c *cluster) openPage(player page.Player, console *console) (end func()) {
	if c.cfg.Page == "" {
		return func() {}
	}
	source := page.Source{App: layout.App, Admins: c.layout.AdminAddresses(), Map: c.watch.Current, Load: c.sample, Player: player, Links: c.storeLinks()}
	for _, a := range c.layout.Allocators {
		source.Names = append(source.Names, a.Name)
	}
	p, err := page.Open(c.cfg.Page, source)
	if err != nil {
		console.say(red, "no page: %v; choose another address by --page", err)
		return func() {}
	}
	console.say(green, "watch it in a browser: %s", p.URL())
	return func() {
		if err := p.Close(); err != nil {
			console.say(red, "page: %v", err)
		}
	}
}

// failed is how many requests failed so far.
func (c *cluster) failed() int64 {
	line, _, _ := c.lines.Now()
	return line.Failed
}

// sample is what the load generator said last, for the page.
func (c *cluster) sample() page.Sample {
	line, count, _ := c.lines.Now()
	return page.Sample{
		Line: count, Requests: line.Requests, Failed: line.Failed, Second: line.Second.Requests, SecondFailed: line.Second.Failed,
		P50MS: line.Second.P50MS, P99MS: line.Second.P99MS,
		LostWrites: line.LostWrites, RepeatedWrites: line.RepeatedWrites, StaleReads: line.StaleReads,
	}
}

// summarise keeps the live line up to date.
func (s *stage) summarise(ctx context.Context, console *console) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		line, _, _ := s.lines.Now()
		moves, version := s.watch.Counted()
		console.show("%d requests, %d failed | %d/s, p50 %.1f ms, p99 %.1f ms | %d moves | map %s",
			line.Requests, line.Failed, line.Second.Requests, line.Second.P50MS, line.Second.P99MS, moves, version)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// stopLoadIfRunning ends the load in order, so that its last line tells what was lost.
func (c *cluster) stopLoadIfRunning() error {
	if !c.load.Running() {
		return nil
	}
	return c.stopLoad()
}

// conclude tells what the records of all processes say.
func (s *stage) conclude(console *console) error {
	e, err := s.collect()
	if err != nil {
		return err
	}
	e.Moves, _ = s.watch.Counted()
	// Crashes are part of the demo: requests may fail in them, and their failover is shown, not judged.
	r, broken, err := judge.Judge(judge.Expected{Scenario: "demo", Store: s.cfg.Store, Open: true}, e)
	if err != nil {
		return err
	}
	console.say(green, "%d requests, %d failed, %d moves; two owners of a shard at once: %d ms; acknowledged writes lost: %d",
		r.Requests, r.Failed, r.Moves, r.OverlapMS, r.LostWrites)
	for _, b := range broken {
		console.say(red, "promise broken: %s", b)
	}
	if !r.OK {
		return fmt.Errorf("demo: %w", ErrBroken)
	}
	return nil
}
