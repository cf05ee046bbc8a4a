package dev

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
)

// allocatorLoss kills the leader. Its session frees the lock after twice its TTL; a follower takes over; the dead one comes back as a follower.
func allocatorLoss(ctx context.Context, s *stage) error {
	leader, err := s.admins.Leader(ctx)
	if err != nil {
		return err
	}
	u := s.allocators[leader]
	s.event("kill -9 %s, which leads", u.Name)
	if _, err := u.Kill(ctx); err != nil {
		return err
	}
	if err := s.succeeded(ctx); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	s.event("start %s again", u.Name)
	if err := u.Start(); err != nil {
		return err
	}
	if err := clock.Sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	return s.rest(ctx)
}

// succeeded waits until an allocator leads that answers.
func (s *stage) succeeded(ctx context.Context) error {
	began := time.Now()
	return clock.Await(ctx, settlePatience, "another allocator to lead", func(ctx context.Context) error {
		next, err := s.admins.Leader(ctx)
		if err == nil {
			s.awaited(began)
			s.event("%s leads", s.allocators[next].Name)
		}
		return err
	})
}

// leaderPause stops the leader for longer than its lock lasts, lets its successor move shards meanwhile, and then lets it go on: it must
// notice that it leads no more before it says anything that counts.
func leaderPause(ctx context.Context, s *stage) error {
	for i := range s.times(leaderPauseTrials) {
		leader, err := s.admins.Leader(ctx)
		if err != nil {
			return err
		}
		u, v := s.allocators[leader], s.servers[(2*i)%len(s.servers)]
		s.event("stop %s, which leads (SIGSTOP), for %v", u.Name, leaderPauseLength)
		if _, err := u.Signal(syscall.SIGSTOP, false); err != nil {
			return err
		}
		wake := time.Now().Add(leaderPauseLength)
		err = errors.Join(s.succeeded(ctx), s.emptied(ctx, v), clock.Sleep(ctx, time.Until(wake)))
		s.event("let %s go on (SIGCONT)", u.Name)
		if _, failed := u.Signal(syscall.SIGCONT, false); err != nil || failed != nil {
			return errors.Join(err, failed)
		}
		if err := clock.Await(ctx, settlePatience, u.Name+" to step down", s.follows(leader)); err != nil {
			return err
		}
		if err := s.admins.Drain(ctx, v.place.ID(), true); err != nil {
			return err
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// emptied drains a server.
func (s *stage) emptied(ctx context.Context, v *server) error {
	id := v.place.ID()
	s.event("drain %s", id)
	if err := clock.Await(ctx, startPatience, "the drain to begin", func(ctx context.Context) error { return s.admins.Drain(ctx, id, false) }); err != nil {
		return err
	}
	return clock.Await(ctx, drainPatience, id+" to be drained", s.watch.Left(id))
}

// follows fails until an allocator answers, says that it does not lead, and another one does.
func (s *stage) follows(position int) func(context.Context) error {
	return func(ctx context.Context) error {
		leads, err := s.admins.Leads(ctx, position)
		if err != nil {
			return err
		}
		if leads {
			return fmt.Errorf("%s says that it leads", s.allocators[position].Name)
		}
		_, err = s.admins.Leader(ctx)
		return err
	}
}
