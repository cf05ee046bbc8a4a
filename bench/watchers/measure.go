package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
)

// measure measures the serving process: at rest, and while it writes.
func (s *server) measure(ctx context.Context, c config, got *seen, r *result, failed <-chan error) error {
	over := func(d time.Duration) (cores, seconds float64, err error) {
		before, err := s.cpuTime()
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
		after, err := s.cpuTime()
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
	if r.RSS, err = s.peakRSS(); err != nil {
		return err
	}
	return got.quantiles(r)
}

// ticksPerSecond is the kernel's USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// cpuTime is the processor time that the process has used.
func (s *server) cpuTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", s.command.Process.Pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// peakRSS is the largest resident set of the process so far, in MiB.
func (s *server) peakRSS() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no VmHWM", s.command.Process.Pid)
}
