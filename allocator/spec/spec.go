// Package spec is what an app wants, as the allocator keeps it: its key space, its replicas, and how they are placed and moved.
//
// Check says what is wrong with a spec, in the words and with the fields of the message that people write, so that every way to a spec is
// checked alike. Policy is the spec as placement takes it, with the defaults filled in. It is called by the ledger and by whoever turns
// specs between their forms; it keeps no state.
package spec

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// App is the spec of an app. 0 means the default.
type App struct {
	Name             shard.App
	Space            shard.KeySpace
	Replication      Replication
	Replicas         int             // of each shard, the primary included
	RegionReplicas   map[string]int  // replicas of each shard that must be in a region; never modified
	Spread           locality.Domain // two replicas of a shard never share a domain of this width
	PreferRegions    []string        // where primaries should be, best first; never modified
	MaxMoves         int             // open moves of the app at once
	MaxMovesServer   int             // from or to one server
	TolerancePercent int
	DefaultLoad      map[string]int64
	ResourceVersion  uint64
	Labels           map[string]string
	Written          []byte // the app's policy, a message that only whoever makes placement's terms reads; nil: none; never modified

	Maintenance caps.Caps     // on planned events; never modified
	Scaling     *scaling.Rule // the replicas of each shard follow its load; nil: they do not; never modified

	NonExclusive  bool // two servers may serve a shard at once: fences are not waited for (PROTOCOL R28)
	AcceptOverlap bool // the same is accepted of an exclusive app, where it holds (PROTOCOL R34)
	OnLoss        OnLoss
}

// OnLoss is what servers do when nobody vouches for them any more; the numbers are those of the wire. The zero value means Fence if the app is
// exclusive, else Hold.
type OnLoss uint8

// What servers do.
const (
	Fence OnLoss = iota + 1
	Hold
)

// ServesOn reports whether servers serve on when nobody vouches for them any more.
func (a App) ServesOn() bool { return a.OnLoss == Hold || a.OnLoss == 0 && a.NonExclusive }

// OnePrimary reports whether no two servers may ever serve a shard at once.
func (a App) OnePrimary() bool { return !a.NonExclusive && !a.ServesOn() }

// TightenedBy reports whether a new spec promises one primary where this one does not. With AcceptOverlap it promises nothing.
func (a App) TightenedBy(next App) bool {
	return !a.OnePrimary() && next.OnePrimary() && !next.AcceptOverlap
}

// CheckUpdate says what is wrong with a spec that is to take the place of this one, as Check does.
func (a App) CheckUpdate(next App) (field, expected string) {
	if field, expected := next.Check(); field != "" {
		return field, expected
	}
	switch {
	case next.Space != a.Space:
		return "key_space", "the one that the app was created with: it is fixed"
	case next.Replication.Kind() != a.Replication.Kind():
		return "replication", "the one that the app was created with: what a replica is cannot change under it"
	}
	return "", ""
}

// Replication says which replicas a shard has; the numbers are those of the wire. The zero value means PrimaryOnly.
type Replication uint8

// Kinds of replication.
const (
	PrimaryOnly Replication = iota + 1
	SecondaryOnly
	PrimarySecondary
)

// Kind is the replication with its default filled in.
func (r Replication) Kind() Replication {
	if r == 0 {
		return PrimaryOnly
	}
	return r
}

// Primaries reports whether shards have a primary.
func (r Replication) Primaries() bool { return r != SecondaryOnly }

// Secondaries reports whether shards have secondaries.
func (r Replication) Secondaries() bool { return r == SecondaryOnly || r == PrimarySecondary }

// Defaults, and limits of what a spec may ask for.
const (
	defaultReplicas  = 2 // where there are secondaries
	defaultMoves     = 64
	defaultPerServer = 8
	defaultTolerance = 10

	replicasMost  = 16
	regionsMost   = 16 // preferred, or with a number of replicas
	movesMost     = 1 << 20
	toleranceMost = 1000
	labelsMost    = 64
)

// MaxPolicyBytes is the largest policy of an app: a spec is one value in the store.
const MaxPolicyBytes = 256 << 10

var (
	appName    = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// Policy is the spec as placement takes it.
func (a App) Policy() placement.Policy {
	or := func(n, otherwise int) int {
		if n == 0 {
			return otherwise
		}
		return n
	}
	return placement.Policy{
		Replicas: a.replicas(), Primary: a.Replication.Primaries(), Spread: a.Spread, Regions: a.RegionReplicas, PreferRegions: a.PreferRegions,
		Moves: or(a.MaxMoves, defaultMoves), MovesPerServer: or(a.MaxMovesServer, defaultPerServer),
		TolerancePercent: or(a.TolerancePercent, defaultTolerance), Written: a.Written,
	}
}

// replicas is how many replicas each shard should have.
func (a App) replicas() int {
	switch {
	case !a.Replication.Secondaries():
		return 1
	case a.Replicas == 0:
		return defaultReplicas
	}
	return a.Replicas
}

// Check says the first thing that is wrong with a spec: the field, and what is expected there. Both are empty if nothing is.
func (a App) Check() (field, expected string) {
	switch {
	case !appName.MatchString(string(a.Name)):
		return "name", fmt.Sprintf("1 to 63 of a-z, 0-9 and -, starting with a letter and not ending with -, not %q", a.Name)
	case !a.Space.Named && (a.Space.Hash.Shards < 1 || a.Space.Hash.Shards > shard.MaxShards):
		return "key_space.hash.shards", fmt.Sprintf("1 to %d, not %d", shard.MaxShards, a.Space.Hash.Shards)
	case a.MaxMoves < 0 || a.MaxMoves > movesMost:
		return "placement.max_concurrent_moves", fmt.Sprintf("0 (the default) to %d, not %d", movesMost, a.MaxMoves)
	case a.MaxMovesServer < 0 || a.MaxMovesServer > movesMost:
		return "placement.max_concurrent_moves_per_server", fmt.Sprintf("0 (the default) to %d, not %d", movesMost, a.MaxMovesServer)
	case a.TolerancePercent < 0 || a.TolerancePercent > toleranceMost:
		return "placement.balance_tolerance_percent", fmt.Sprintf("0 (the default) to %d, not %d", toleranceMost, a.TolerancePercent)
	case len(a.Labels) > labelsMost:
		return "labels", fmt.Sprintf("at most %d, not %d", labelsMost, len(a.Labels))
	case len(a.Written) > MaxPolicyBytes:
		return "policy", fmt.Sprintf("at most %d bytes, not %d", MaxPolicyBytes, len(a.Written))
	case a.OnLoss > Hold:
		return "on_coordination_loss", fmt.Sprintf("fence or hold, not number %d", a.OnLoss)
	case a.OnLoss == Hold && !a.NonExclusive && !a.AcceptOverlap:
		return "on_coordination_loss", "fence, because the app is exclusive: one that holds serves on without anybody's word, while another server may " +
			"have its shards. If that may be, set accept_overlap: true; of a cache, exclusive: false"
	}
	if field, expected := a.Maintenance.Check(); field != "" {
		return "maintenance." + field, expected
	}
	for _, metric := range shard.SortedKeys(a.DefaultLoad) {
		if !metricName.MatchString(metric) || a.DefaultLoad[metric] < 0 {
			return "placement.default_load." + metric, "a metric named by a-z, 0-9 and _, starting with a letter, with a load of 0 or more"
		}
	}
	if field, expected := a.checkReplicas(); field != "" {
		return field, expected
	}
	if field, expected := a.checkScaling(); field != "" {
		return field, expected
	}
	return a.checkRegions()
}

// checkReplicas refuses numbers that no servers could satisfy, and what says nothing about apps with one replica of each shard.
func (a App) checkReplicas() (field, expected string) {
	const needs = "needs secondaries: this app has one replica of each shard (replication primary-only)"
	switch {
	case a.Replicas < 0 || a.Replicas > replicasMost:
		return "replicas", fmt.Sprintf("0 (the default) to %d, not %d", replicasMost, a.Replicas)
	case a.Spread > locality.Region:
		return "placement.spread", fmt.Sprintf("host, rack, zone or region, not number %d", a.Spread)
	case len(a.RegionReplicas) > regionsMost:
		return "region_replicas", fmt.Sprintf("at most %d regions, not %d", regionsMost, len(a.RegionReplicas))
	case a.Replication.Secondaries():
	case a.Replicas > 1:
		return "replicas", fmt.Sprintf("1: more than one %s, not %d", needs, a.Replicas)
	case len(a.RegionReplicas) > 0:
		return "region_replicas", "nothing: it " + needs + "; where its primaries should be is placement.preferred_regions"
	case a.Spread != 0:
		return "placement.spread", "nothing: it " + needs
	}
	sum := 0
	for _, region := range shard.SortedKeys(a.RegionReplicas) {
		n := a.RegionReplicas[region]
		if sum += n; region == "" || n < 1 || n > replicasMost {
			return "region_replicas." + region, fmt.Sprintf("a region's name with 1 to %d replicas, not %d", replicasMost, n)
		}
	}
	if sum > a.replicas() {
		return "region_replicas", fmt.Sprintf("a sum of at most replicas, which is %d, not %d", a.replicas(), sum)
	}
	return "", ""
}

func (a App) checkRegions() (field, expected string) {
	const path = "placement.preferred_regions"
	if len(a.PreferRegions) > 0 && !a.Replication.Primaries() {
		return path, "nothing: this app has no primaries (replication secondary-only)"
	}
	if len(a.PreferRegions) > regionsMost {
		return path, fmt.Sprintf("at most %d regions, not %d", regionsMost, len(a.PreferRegions))
	}
	for i, region := range a.PreferRegions {
		if region == "" || slices.Contains(a.PreferRegions[:i], region) {
			return path, fmt.Sprintf("names of regions, each once, not %q in place %d", region, i+1)
		}
	}
	return "", ""
}
