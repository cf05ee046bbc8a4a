package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/observe"
	"github.com/shardmanager/shardmanager/internal/dev/process"
)

// planned is an event of which no client may notice anything.
type planned struct {
	name string
	play func(ctx context.Context, r *run, s *server) error
}

func plannedEvents() []planned {
	return []planned{
		{"drain", drain}, {"replace server", replace}, {"restart agent", restartAgent}, {"stop leader", stopLeader},
	}
}

func drain(ctx context.Context, r *run, s *server) error {
	if err := r.admins.Drain(ctx, s.ID(), false); err != nil {
		return err
	}
	err := clock.Await(ctx, drainPatience, s.ID()+" to be drained", r.watch.Left(s.ID()))
	return errors.Join(err, r.admins.Drain(ctx, s.ID(), true))
}

// replace ends a server in order and starts its next version.
func replace(ctx context.Context, r *run, s *server) error {
	if _, err := s.agent.Signal(syscall.SIGTERM, true); err != nil {
		return err
	}
	if err := s.agent.Ended(ctx, drainPatience); err != nil {
		return err
	}
	if err := s.app.Stop(appPatience); err != nil {
		return err
	}
	s.version++
	s.app.Args = r.places.AppArgs(s.Server, r.settings, s.version)
	return errors.Join(s.agent.Start(), s.app.Start())
}

func restartAgent(ctx context.Context, _ *run, s *server) error {
	return observe.Replaced(ctx, s.Sock, func() error { _, err := s.agent.Signal(syscall.SIGUSR2, false); return err })
}

// stopLeader ends the leader in order; it comes back as a standby.
func stopLeader(ctx context.Context, r *run, _ *server) error {
	lead, err := r.admins.Leader(ctx)
	if err != nil {
		return err
	}
	leader := r.allocators[lead]
	if err := process.StopTogether([]*process.Unit{leader}, stopPatience); err != nil {
		return err
	}
	err = clock.Await(ctx, settlePatience, "another leader", r.another(lead))
	return errors.Join(err, leader.Start())
}

// quiet waits until no fault is left, and plays a planned event alone: whatever fails then is its doing, unless the machine is overloaded.
func (r *run) quiet(ctx context.Context, n int) error {
	r.faults.Wait()
	if err := r.settled(ctx); err != nil {
		return err
	}
	if !clock.Pause(ctx, r.cfg.deadline/4) { // what began in the last fault is over
		return nil
	}
	events := plannedEvents()
	if lead, err := r.admins.Leader(ctx); err != nil || lead == len(r.allocators)-1 { // this one is not ended
		events = events[:len(events)-1]
	}
	p, s := events[n%len(events)], r.servers[r.random.IntN(len(r.servers)-1)] // the last one lives as long as the run
	w := window{Kind: p.name, From: clock.Now().Raw, Load: loadAverage()}
	began := time.Now()
	whole := context.WithoutCancel(ctx) // what was begun is brought to its end
	err := p.play(whole, r, s)
	if err == nil {
		err = r.settled(whole)
	}
	clock.Pause(whole, time.Second)
	w.To, w.Load = clock.Now().Raw, max(w.Load, loadAverage())
	r.windows = append(r.windows, w)
	r.say("planned: %s: %s, %.1f s", p.name, s.Node, time.Since(began).Seconds())
	return err
}
