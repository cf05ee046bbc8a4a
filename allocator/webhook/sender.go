// Package webhook tells targets outside of the leader's events by HTTP, signed as Standard Webhooks says.
//
// Invariants: each target has one message under way at a time, so that it gets them in order, and waits for nobody else; what is kept for it is its
// position in the log, the message under way, and DeadMost dead letters. A target that falls behind the log is told of a gap, and so is every
// target at the start of each leadership, for nobody knows what it got of the one before. Nothing of this is in the store (ADR 0083).
//
// Called by the allocator's shell, which runs it while it leads, and by allocator/api for operators. It never decides anything, and nothing that
// decides waits for it.
package webhook

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// DeadMost is how many dead letters are kept of a target; the oldest go first.
const DeadMost = 500

// Pacing is how often a message is tried. Zero fields are the defaults.
type Pacing struct {
	Attempt  time.Duration // how long one may take; 10 s
	First    time.Duration // pause after the first, doubled after each, give or take half of it; 1 s
	Longest  time.Duration // longest of these pauses; 1 min
	Attempts int           // after so many it is a dead letter; 10, which is some five minutes
}

func (p Pacing) filled() Pacing {
	return Pacing{
		Attempt: cmp.Or(p.Attempt, 10*time.Second), First: cmp.Or(p.First, time.Second), Longest: cmp.Or(p.Longest, time.Minute), Attempts: cmp.Or(p.Attempts, 10),
	}
}

// Deps is what a Sender works with.
type Deps struct {
	Cluster string
	Events  *events.Log
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil: nowhere
	Pacing  Pacing
}

// Sender is safe for concurrent use. Make it with New.
type Sender struct {
	deps    Deps
	lines   []*line // in the order of the file
	testing chan struct{}
}

// New makes the sender of some targets, which does nothing before Run.
func New(targets []Target, deps Deps) *Sender {
	deps.Pacing = deps.Pacing.filled()
	s := &Sender{deps: deps, testing: make(chan struct{}, 1)}
	for _, t := range targets {
		s.lines = append(s.lines, &line{target: t, deps: deps, client: newClient(), wake: make(chan struct{}, 1)})
	}
	if deps.Metrics != nil {
		s.register(deps.Metrics)
	}
	return s
}

// Run delivers the events of one leadership until ctx ends, which cuts short whatever is under way.
func (s *Sender) Run(ctx context.Context, epoch shard.Epoch) {
	if len(s.lines) == 0 || !s.begun(ctx, epoch) {
		return
	}
	var lines sync.WaitGroup
	for _, l := range s.lines {
		lines.Go(func() { l.run(ctx, epoch) })
	}
	lines.Wait()
}

// begun waits until the log is that of the leadership; false: ctx ended before.
func (s *Sender) begun(ctx context.Context, epoch shard.Epoch) bool {
	for {
		_, news := s.deps.Events.Read(events.Position{}, 0)
		if s.deps.Events.Newest().Epoch == epoch {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}
