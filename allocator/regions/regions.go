// Package regions keeps where the agents of a cluster are in the space of round trips, and makes of it how far its regions are from each other.
//
// The Attach handler reports coordinates as agents send them; operators, solver and map feed read the matrix. It is memory of one leadership and no
// state of the ledger: a new leader has it again within seconds, and nothing that must be safe depends on it. Ages are counted by this
// process's own clock from the moment that a report arrived.
package regions

import (
	"context"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// MaxAgents are kept; of a further one nothing is noted until others are too old.
	MaxAgents = 100_000
	// foldEvery is how old a matrix may be before it is made anew: with many regions that takes tens of milliseconds.
	foldEvery = 2 * time.Second
	// publishEvery is how often it is looked whether those who route should hear of a change, and repeatEvery how often they hear anyway.
	publishEvery = 5 * time.Second
	repeatEvery  = time.Minute
	// keepFor is how long those who route are told of regions from which nobody reports any more.
	keepFor = time.Hour
	// reportWithin is how long a new leader waits for the first report before it tells of what is configured alone: an earlier leader told
	// what was measured.
	reportWithin = 15 * time.Second
)

// Keeper is safe for concurrent use.
type Keeper struct {
	clock      func() shard.Instant
	configured latency.Matrix // for what is not measured well

	mu     sync.Mutex
	agents map[string]place
	swept  shard.Instant
	made   shard.Instant
	matrix latency.Matrix // as measured
	fresh  bool           // made and matrix count
}

type place struct {
	region string
	at     latency.Coordinate
	when   shard.Instant
}

// NewKeeper makes a keeper that knows what is configured.
func NewKeeper(clock func() shard.Instant, configured latency.Matrix) *Keeper {
	return &Keeper{clock: clock, configured: configured, agents: map[string]place{}, swept: clock()}
}

// Report notes where an agent is, instead of what it said before.
func (k *Keeper) Report(agent, region string, at latency.Coordinate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock()
	if k.swept.PermissionAge(now) >= latency.MaxAge {
		k.sweep(now)
	}
	if _, known := k.agents[agent]; known || len(k.agents) < MaxAgents {
		k.agents[agent] = place{region: region, at: at, when: now}
	}
}

// sweep forgets whoever has not reported for too long.
func (k *Keeper) sweep(now shard.Instant) {
	k.swept = now
	for agent, p := range k.agents {
		if p.when.PermissionAge(now) > latency.MaxAge {
			delete(k.agents, agent)
		}
	}
}

// Matrix is how far the regions are from each other, at most foldEvery old: as measured, else as configured.
func (k *Keeper) Matrix() latency.Matrix { return k.measured().Else(k.configured) }

func (k *Keeper) measured() latency.Matrix {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock()
	if k.fresh && k.made.PermissionAge(now) < foldEvery {
		return k.matrix
	}
	k.sweep(now)
	samples := make([]latency.Sample, 0, len(k.agents))
	for agent, p := range k.agents {
		samples = append(samples, latency.Sample{Agent: agent, Region: p.region, At: p.at, Age: p.when.PermissionAge(now)})
	}
	k.matrix, k.made, k.fresh = latency.Fold(samples), now, true
	return k.matrix
}

// Located counts the agents of each region that reported lately.
func (k *Keeper) Located() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sweep(k.clock())
	counts := map[string]int{}
	for _, p := range k.agents {
		counts[p.region]++
	}
	return counts
}

// Run tells those who route of the matrix until ctx ends: when it changed noticeably, and now and then. Nothing is told while leads says
// false, or before anything is known: what an earlier leader told is better than nothing.
func (k *Keeper) Run(ctx context.Context, leads func() bool, publish func(latency.Matrix)) error {
	ticker := time.NewTicker(publishEvery)
	defer ticker.Stop()
	var kept, told latency.Matrix
	var when, looked, begun shard.Instant
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now := k.clock()
		if looked.IsZero() {
			looked = now
		}
		// What is missing is kept: a region that was cut off comes back where it was.
		kept = k.measured().Or(kept, looked.PermissionAge(now), keepFor)
		looked = now
		if !leads() {
			when, begun = shard.Instant{}, shard.Instant{}
			continue
		}
		if begun.IsZero() {
			begun = now
		}
		matrix := kept.Else(k.configured)
		known := len(kept.Pairs()) > 0 || (len(matrix.Pairs()) > 0 && begun.PermissionAge(now) >= reportWithin)
		if known && (when.IsZero() || when.PermissionAge(now) >= repeatEvery || !matrix.Alike(told)) {
			publish(matrix)
			told, when = matrix, now
		}
	}
}
