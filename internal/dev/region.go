package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/shardmanager/shardmanager/internal/dev/judge"
	"github.com/shardmanager/shardmanager/internal/dev/process"
	"github.com/shardmanager/shardmanager/internal/overlap"
)

// regionLoss kills everything in a region at once but the coordination store: agents, applications, and the allocator that runs there. It is
// the region of the leader or one without it: wanted says so of an allocator's position and the leader's.
func regionLoss(trials int, wanted func(position, leader int) bool) play {
	return func(ctx context.Context, s *stage) error {
		for range s.times(trials) {
			leader, err := s.admins.Leader(ctx)
			if err != nil {
				return err
			}
			region := s.heaviest(func(position int) bool { return wanted(position, leader) })
			if err := s.loseRegion(ctx, region); err != nil {
				return err
			}
		}
		return nil
	}
}

func isLeader(position, leader int) bool    { return position == leader }
func isNotLeader(position, leader int) bool { return position != leader }

// heaviest is the region that has most shards, of those whose allocator is wanted.
func (s *stage) heaviest(wanted func(position int) bool) string {
	of, _ := s.watch.ShardsOf()
	best, most := "", -1
	for i, a := range s.layout.Allocators {
		shards := 0
		for _, v := range s.within(a.Region) {
			shards += of[v.place.ID()]
		}
		if wanted(i) && shards > most {
			best, most = a.Region, shards
		}
	}
	return best
}

// within lists the servers of a region.
func (s *stage) within(region string) []*server {
	return slices.DeleteFunc(slices.Clone(s.servers), func(v *server) bool { return v.place.Region != region })
}

// loseRegion kills a region, waits until others serve its shards, and starts it again.
func (s *stage) loseRegion(ctx context.Context, region string) error {
	victims := s.within(region)
	var allocators []*process.Unit
	for i, a := range s.layout.Allocators {
		if a.Region == region {
			allocators = append(allocators, s.allocators[i])
		}
	}
	s.event("kill -9 all of region %s: %s", region, described(victims, allocators))
	if err := s.killRegion(ctx, victims, allocators); err != nil {
		return err
	}
	for _, v := range victims {
		if err := s.taken(ctx, v); err != nil {
			return err
		}
	}
	s.event("start region %s again", region)
	for _, u := range allocators {
		if err := u.Start(); err != nil {
			return err
		}
	}
	for _, v := range victims {
		if err := s.startServer(ctx, v); err != nil {
			return err
		}
	}
	return s.rest(ctx)
}

func described(victims []*server, allocators []*process.Unit) string {
	var names []string
	for _, u := range allocators {
		names = append(names, u.Name)
	}
	for _, v := range victims {
		names = append(names, fmt.Sprintf("agent and application of %s", v.place.ID()))
	}
	return strings.Join(names, ", ")
}

// killRegion signals all before it waits for any. The loss of every server counts from the first signal.
func (s *stage) killRegion(ctx context.Context, victims []*server, allocators []*process.Unit) error {
	first := int64(0)
	kill := func(u *process.Unit) (int64, error) {
		at, err := u.Signal(syscall.SIGKILL, true)
		if first == 0 {
			first = at
		}
		return at, err
	}
	var failed []error
	for _, u := range allocators {
		_, err := kill(u)
		failed = append(failed, err)
	}
	for _, v := range victims {
		running := s.process(v)
		_, agentErr := kill(v.agent)
		at, appErr := kill(v.app)
		failed = append(failed, agentErr, appErr)
		s.trials = append(s.trials, judge.Trial{Process: running, At: first})
		s.kills = append(s.kills, overlap.Kill{Process: running, At: at})
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	for _, u := range allocators {
		failed = append(failed, u.Ended(ctx, startPatience))
	}
	for _, v := range victims {
		failed = append(failed, v.agent.Ended(ctx, startPatience), v.app.Ended(ctx, startPatience))
	}
	return errors.Join(failed...)
}
