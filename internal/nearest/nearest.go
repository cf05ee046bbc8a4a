// Package nearest chooses which replica of a shard a read goes to: the nearest by locality and, among other regions, by measured latency; in
// turn among equals, and one that failed lately only if there is no other.
//
// It keeps no map and no clock, and sends nothing: the Router asks it before an attempt, and tells it what came of it. Failures are
// remembered for PassOver, at most maxFailures of them; beyond that, new ones are not noted, which costs an attempt and nothing else.
package nearest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/latency"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// PassOver is how long a replica that failed is chosen only if there is no other.
const PassOver = 5 * time.Second

// maxFailures bounds what is remembered.
const maxFailures = 4096

// AnyShard says that a failure was the server's, not that of one of its shards.
const AnyShard = ^shard.Index(0)

// Chooser chooses for one reader. It is safe for concurrent use.
type Chooser struct {
	own    shard.Locality                 // only region and zone count; empty: every replica is equally near
	ranks  atomic.Pointer[map[string]int] // of other regions, by latency; nil: nothing was measured
	turn   atomic.Uint64
	failed atomic.Int64 // remembered failures, so that reads take no lock while there are none

	mu       sync.Mutex
	failures map[failure]time.Time // until when it counts
}

type failure struct {
	address string
	shard   shard.Index
}

// NewChooser makes a chooser for a reader in a zone of a region; either may be empty for unknown.
func NewChooser(region, zone string) *Chooser {
	return &Chooser{own: shard.Locality{Region: region, Zone: zone}, failures: map[failure]time.Time{}}
}

// SetLatencies says how far regions are from each other, from now on.
func (c *Chooser) SetLatencies(m latency.Matrix) {
	ranks := m.Ranks(c.own.Region)
	c.ranks.Store(&ranks)
}

// Choose finds the replica of a shard to ask next: one whose address is not among those tried. Nil: there is none.
func (c *Chooser) Choose(now time.Time, m *shard.Map, i shard.Index, tried []string) *shard.Server {
	var ranks map[string]int
	if measured := c.ranks.Load(); measured != nil {
		ranks = *measured
	}
	best, equals := worst+1, uint64(0)
	for k := -1; ; k++ {
		s, more := replica(m, i, k)
		if !more {
			break
		}
		switch rank := c.rank(now, ranks, s, i, tried); {
		case rank < best:
			best, equals = rank, 1
		case rank == best:
			equals++
		}
	}
	if best > worst {
		return nil
	}
	nth := c.turn.Add(1) % equals
	for k := -1; ; k++ {
		s, more := replica(m, i, k)
		if !more {
			return nil // a failure was noted or forgotten between the two looks
		}
		if c.rank(now, ranks, s, i, tried) != best {
			continue
		}
		if nth == 0 {
			return s
		}
		nth--
	}
}

// replica is the primary for k = −1, possibly nil, and then each secondary; false after the last.
func replica(m *shard.Map, i shard.Index, k int) (*shard.Server, bool) {
	if k < 0 {
		s, _ := m.Lookup(i)
		return s, true
	}
	s := m.Secondary(i, k)
	return s, s != nil
}

// Ranks: how near, and behind all of those the same for replicas that failed lately.
const (
	sameZone = iota
	sameRegion
	elsewhere    // plus the region's rank by latency
	unmeasured   = elsewhere + latency.MaxRegions
	failedLately = unmeasured + 1 // added to the others
	worst        = failedLately + unmeasured
)

func (c *Chooser) rank(now time.Time, ranks map[string]int, s *shard.Server, i shard.Index, tried []string) int {
	if s == nil || s.DataAddress == "" || slices.Contains(tried, s.DataAddress) {
		return worst + 1
	}
	rank := unmeasured
	if c.own.Region == s.Locality.Region {
		rank = sameRegion
		if c.own.Zone == s.Locality.Zone {
			rank = sameZone
		}
	} else if nth, ok := ranks[s.Locality.Region]; ok {
		rank = elsewhere + nth
	}
	if c.failed.Load() > 0 && c.failedLately(now, s.DataAddress, i) {
		rank += failedLately
	}
	return rank
}

func (c *Chooser) failedLately(now time.Time, address string, i shard.Index) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.failures[failure{address, i}]) || now.Before(c.failures[failure{address, AnyShard}])
}

// Failed notes that a replica gave no answer to a read: of this shard, or of any.
func (c *Chooser) Failed(now time.Time, address string, i shard.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := failure{address, i}
	if _, known := c.failures[f]; !known && len(c.failures) >= maxFailures {
		for old, until := range c.failures {
			if !now.Before(until) {
				delete(c.failures, old)
			}
		}
		if len(c.failures) >= maxFailures {
			return
		}
	}
	c.failures[f] = now.Add(PassOver)
	c.failed.Store(int64(len(c.failures)))
}

// Answered notes that a replica of a shard answered.
func (c *Chooser) Answered(address string, i shard.Index) {
	if c.failed.Load() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failures, failure{address, i})
	delete(c.failures, failure{address, AnyShard})
	c.failed.Store(int64(len(c.failures)))
}
