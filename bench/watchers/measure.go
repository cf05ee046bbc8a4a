package main

import (
	"context"
	"time"

	"github.com/shardmanager/shardmanager/bench/internal/usage"
	"github.com/shardmanager/shardmanager/internal/clock"
)

// measure measures the serving process: at rest, and while it writes.
func (s *server) measure(ctx context.Context, c config, got *seen, r *result, failed <-chan error) error {
	over := func(d time.Duration) (cores, seconds float64, err error) {
		before, err := usage.CPUTime(s.command.Process.Pid)
		if err != nil {
			return 0, 0, err
		}
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		select {
		case err := <-failed:
			return 0, 0, err
		case <-short.Done():
		}
		after, err := usage.CPUTime(s.command.Process.Pid)
		seconds = time.Since(began).Seconds()
		return (after - before).Seconds() / seconds, seconds, err
	}
	if !clock.Pause(ctx, c.settle) {
		return ctx.Err()
	}
	var err error
	if r.IdleCores, _, err = over(c.settle); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	if !clock.Pause(ctx, c.settle) {
		return ctx.Err()
	}
	got.restart()
	if r.Cores, r.Seconds, err = over(c.last); err != nil {
		return err
	}
	r.Delivered = float64(got.count.Load()) / r.Seconds
	sizes, err := usage.Sizes(s.command.Process.Pid)
	if err != nil {
		return err
	}
	r.RSS = sizes["VmHWM"]
	return got.quantiles(r)
}
