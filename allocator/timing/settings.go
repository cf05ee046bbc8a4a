// Package timing says how long the leading allocator waits for what, and finds machines whose clocks stood still. It is pure, and called by
// allocator/ledger; the allocator's configuration fills the settings in.
package timing

import (
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Settings are the times of the ledger, and the bounds of its writes; Validate says which are wrong.
type Settings struct {
	Interval       time.Duration // lease.interval
	Validity       time.Duration // lease.validity, V
	LeaderValidity time.Duration // leader.validity, LV
	AgentGrace     time.Duration // an agent that is down alone; default V/2
	PartitionGrace time.Duration // a server that only others reach; default 30 s
	ProbeTimeout   time.Duration // default 500 ms
	HoldFraction   float64       // losses at once beyond this part of all servers are held; 1: never; default 0.5
	Probation      probation.Terms
	Quarantine     probation.Limits
	Linger         time.Duration // the source forwards after publication; default 2 s
	StepDeadline   time.Duration // default 10 s
	LoadDeadline   time.Duration // PrepareAddShard; default 5 min
	BatchTick      time.Duration // writes that nobody waits for are gathered this long; default 100 ms
	Maintenance    caps.Cluster  // of planned events, over all apps
	MaxWriteOps    int           // operations in one transaction; default 100
	// FenceWait replaces the wait after a fence. 0, the only safe value, means CoverDrift(Validity); the break-the-lease test sets it to
	// 1 ns to see the overlap detector fail.
	FenceWait time.Duration
}

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
	fill(&s.Probation.Window, 10*time.Minute)
	fill(&s.Probation.First, time.Minute)
	fill(&s.Probation.Most, 30*time.Minute)
	fill(&s.Quarantine.Window, 5*time.Minute)
	if s.Quarantine.Deaths == 0 {
		s.Quarantine.Deaths = 3
	}
	if s.HoldFraction == 0 {
		s.HoldFraction = 0.5
	}
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
	need(s.HoldFraction > 0 && s.HoldFraction <= 1, "hold_fraction", "more than 0, at most 1, which holds nothing")
	need(s.Probation.Window > 0, "probation_window", "more than 0")
	need(s.Probation.First > 0, "probation_first", "more than 0")
	need(s.Probation.Most >= s.Probation.First, "probation_most", "at least probation_first")
	need(s.Quarantine.Deaths > 1, "quarantine_deaths", "more than 1")
	need(s.Quarantine.Window > 0, "quarantine_window", "more than 0")
	need(s.Linger >= 0, "linger", "0 or more")
	need(s.StepDeadline > 0, "step_deadline", "more than 0")
	need(s.LoadDeadline >= s.StepDeadline, "load_deadline", "at least step_deadline")
	need(s.BatchTick > 0, "batch_tick", "more than 0")
	need(s.MaxWriteOps >= 4, "max_write_ops", "at least 4")
	need(s.FenceWait >= 0, "fence_wait", "0 or more")
	return errors.Join(wrong...)
}

// PredecessorsEnd is when no earlier leader grants leases any more, for whoever acquired the lock: at once if the predecessor left its clean mark, else
// when all that it may have granted by the last proof of its lock is granted (PROTOCOL R1).
func (s Settings) PredecessorsEnd(acquired shard.Instant, clean bool) shard.Instant {
	if clean {
		return acquired
	}
	return acquired.Add(shard.CoverDrift(s.LeaderValidity))
}

// LeasesEnd is when leases are over that were granted until an instant, the longest rest lease among them (PROTOCOL R19).
func (s Settings) LeasesEnd(granted shard.Instant, rest time.Duration) shard.Instant {
	return shard.LaterOf(granted.Add(s.AfterFence()), granted.Add(shard.CoverDrift(rest)))
}

// AfterFence is the wait after a fence: it outlasts every lease of the usual length (PROTOCOL R8).
func (s Settings) AfterFence() time.Duration {
	if s.FenceWait > 0 {
		return s.FenceWait
	}
	return shard.CoverDrift(s.Validity)
}
