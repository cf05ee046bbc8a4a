package dev

import (
	"context"
	"errors"
	"syscall"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/judge"
	"github.com/shardmanager/shardmanager/internal/dev/process"
)

// pause stops processes of a server for longer than any lease, then lets them go on: they must notice that they are nobody.
func pause(trials int, what string, of func(*server) []*process.Unit) play {
	return func(ctx context.Context, s *stage) error {
		for range s.times(trials) {
			if err := s.paused(ctx, s.fullest(), what, of); err != nil {
				return err
			}
		}
		return nil
	}
}

func (s *stage) paused(ctx context.Context, v *server, what string, of func(*server) []*process.Unit) error {
	s.event("stop %s of %s (SIGSTOP) for %v", what, v.place.ID(), pauseLength)
	trial := judge.Trial{Process: s.process(v)}
	for i, u := range of(v) {
		at, err := u.Signal(syscall.SIGSTOP, false)
		if err != nil {
			return err
		}
		if i == 0 {
			trial.At = at
		}
	}
	s.trials = append(s.trials, trial)
	if err := clock.Sleep(ctx, pauseLength); err != nil {
		return err
	}
	s.event("let %s go on (SIGCONT)", v.place.Node)
	var failed error
	for _, u := range of(v) {
		_, err := u.Signal(syscall.SIGCONT, false)
		failed = errors.Join(failed, err)
	}
	if err := errors.Join(failed, s.taken(ctx, v)); err != nil {
		return err
	}
	return s.rest(ctx)
}

// wholeServer is an agent and its application; onlyApplication leaves an agent that lives and renews.
func wholeServer(v *server) []*process.Unit     { return []*process.Unit{v.agent, v.app} }
func onlyApplication(v *server) []*process.Unit { return []*process.Unit{v.app} }
