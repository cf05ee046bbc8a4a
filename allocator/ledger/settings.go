package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Limits and delays that nobody needs to configure.
const (
	settleExtra    = 2 * time.Second        // a new leader gathers no evidence for V and this (PROTOCOL R15)
	lateLoop       = time.Second            // a loop this late restarts all evidence (PROTOCOL R15)
	backoffFirst   = 200 * time.Millisecond // after a failed command, read or write; doubled each time
	backoffMost    = 5 * time.Second
	attemptsMost   = 3                // failures of one callback before another way is taken
	answerSlack    = time.Second      // an agent's answer may come this much after the deadline of its command
	avoidFor       = 30 * time.Second // a server whose callback failed is not asked again for the shard
	helloPatience  = 5 * time.Second  // a hello whose key cannot be read is refused after this
	restMost       = 30 * time.Second // longest rest (PROTOCOL R19)
	wishesMost     = 1000             // wishes in the queue; more are refused with NotNow
	probersMost    = 4                // servers asked in one round of probes
	jumpTolerance  = 500 * time.Millisecond
	jumpWindow     = 10 * time.Minute // clocks are compared over so long: what counts is time lost within a lease
	jumpsMost      = 3                // consecutive renewals that must show lost time (PROTOCOL R8)
	stuckFactor    = 3                // step deadlines until a target that does not stop is fenced (PROTOCOL R10)
	rowBytes       = 12
	writeBytesMost = 300 << 10

	solvePatience = time.Minute            // a plan that takes longer is asked for again
	solveSettle   = time.Second            // after a change of membership
	solvePause    = 5 * time.Second        // between two rebalancings
	solveSoon     = 250 * time.Millisecond // between two solves while a server drains or caps bind
	joinSettle    = 300 * time.Millisecond // shards that never had an owner wait for servers that join together
)

// Defaults fills what is zero.
func (s Settings) Defaults() Settings {
	fill := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	fill(&s.Interval, time.Second)
	fill(&s.Validity, 6*time.Second)
	fill(&s.LeaderValidity, 12*time.Second)
	fill(&s.AgentGrace, s.Validity/2)
	fill(&s.PartitionGrace, 30*time.Second)
	fill(&s.ProbeTimeout, 500*time.Millisecond)
	fill(&s.Linger, 2*time.Second)
	fill(&s.StepDeadline, 10*time.Second)
	fill(&s.LoadDeadline, 5*time.Minute)
	fill(&s.BatchTick, 100*time.Millisecond)
	if s.MaxWriteOps == 0 {
		s.MaxWriteOps = 100
	}
	return s
}

// Validate says everything that is wrong, field by field.
func (s Settings) Validate() error {
	var wrong []error
	need := func(ok bool, field, expected string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("settings: %s: expected %s", field, expected))
		}
	}
	need(s.Interval > 0, "lease_interval", "more than 0")
	need(s.Validity >= 2*s.Interval, "lease_validity", "at least twice lease_interval")
	need(s.LeaderValidity >= s.Validity, "leader_validity", "at least lease_validity")
	need(s.AgentGrace >= 0, "agent_grace", "0 or more")
	need(s.PartitionGrace >= s.AgentGrace, "partition_grace", "at least agent_grace")
	need(s.ProbeTimeout > 0, "probe_timeout", "more than 0")
	need(s.Linger >= 0, "linger", "0 or more")
	need(s.StepDeadline > 0, "step_deadline", "more than 0")
	need(s.LoadDeadline >= s.StepDeadline, "load_deadline", "at least step_deadline")
	need(s.BatchTick > 0, "batch_tick", "more than 0")
	need(s.MaxWriteOps >= 4, "max_write_ops", "at least 4")
	need(s.FenceWait >= 0, "fence_wait", "0 or more")
	return errors.Join(wrong...)
}

// fenceWait outlasts every lease of the usual length (PROTOCOL R8).
func (s Settings) fenceWait() time.Duration {
	if s.FenceWait > 0 {
		return s.FenceWait
	}
	return shard.CoverDrift(s.Validity)
}

// backoff is the pause after the nth failure in a row, from 1.
func backoff(n int) time.Duration {
	d := backoffFirst
	for ; n > 1 && d < backoffMost; n-- {
		d *= 2
	}
	return min(d, backoffMost)
}
