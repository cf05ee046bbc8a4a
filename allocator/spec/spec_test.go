package spec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/scaling"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestCheck(t *testing.T) {
	tooMany := 1<<20 + 1
	t.Parallel()
	two := 2
	scaled := func(change func(*spec.App)) func(*spec.App) {
		return func(a *spec.App) {
			a.Replication, a.Scaling = spec.PrimarySecondary, &scaling.Rule{Metric: "reads", Target: 100, Min: 2, Max: 6}
			if change != nil {
				change(a)
			}
		}
	}
	many := map[string]int{}
	for i := range 17 {
		many[string('a'+rune(i))] = 1
	}
	for name, c := range map[string]struct {
		change   func(*spec.App)
		field    string // none: nothing is wrong
		expected string
	}{
		"plain":       {change: func(*spec.App) {}},
		"one replica": {change: func(a *spec.App) { a.Replicas = 1 }},
		"preferred":   {change: func(a *spec.App) { a.PreferRegions = []string{"eu", "us"} }},
		"replicated":  {change: func(a *spec.App) { a.Replication = spec.PrimarySecondary }},
		"regions": {change: func(a *spec.App) {
			a.Replication, a.RegionReplicas = spec.SecondaryOnly, map[string]int{"eu": 1, "us": 1}
		}},
		"spread":           {change: func(a *spec.App) { a.Replication, a.Spread, a.Replicas = spec.SecondaryOnly, locality.Zone, 3 }},
		"name":             {func(a *spec.App) { a.Name = "KV" }, "name", `not "KV"`},
		"shards":           {func(a *spec.App) { a.Space.Hash.Shards = 0 }, "key_space.hash.shards", "not 0"},
		"moves":            {func(a *spec.App) { a.MaxMoves = -1 }, "placement.max_concurrent_moves", "not -1"},
		"moves per server": {func(a *spec.App) { a.MaxMovesServer = 1 << 21 }, "placement.max_concurrent_moves_per_server", "not 2097152"},
		"tolerance":        {func(a *spec.App) { a.TolerancePercent = 1001 }, "placement.balance_tolerance_percent", "not 1001"},
		"load":             {func(a *spec.App) { a.DefaultLoad = map[string]int64{"cpu": -1} }, "placement.default_load.cpu", "0 or more"},
		"too many":         {func(a *spec.App) { a.Replicas = 17 }, "replicas", "not 17"},
		"two of primaries": {func(a *spec.App) { a.Replicas = 2 }, "replicas", "one replica of each shard (replication primary-only), not 2"},
		"spread of one":    {func(a *spec.App) { a.Spread = locality.Host }, "placement.spread", "nothing"},
		"regions of one":   {func(a *spec.App) { a.RegionReplicas = map[string]int{"eu": 1} }, "region_replicas", "placement.preferred_regions"},
		"unknown spread":   {func(a *spec.App) { a.Spread = 9 }, "placement.spread", "not number 9"},
		"regions beyond all": {func(a *spec.App) {
			a.Replication, a.RegionReplicas = spec.PrimarySecondary, map[string]int{"eu": 2, "us": 1}
		}, "region_replicas", "which is 2, not 3"},
		"too many regions": {func(a *spec.App) { a.Replication, a.RegionReplicas = spec.PrimarySecondary, many }, "region_replicas", "at most 16 regions, not 17"},
		"empty region":     {func(a *spec.App) { a.Replication, a.RegionReplicas = spec.PrimarySecondary, map[string]int{"eu": 0} }, "region_replicas.eu", "not 0"},
		"no region":        {func(a *spec.App) { a.PreferRegions = []string{"eu", ""} }, "placement.preferred_regions", `not "" in place 2`},
		"region twice":     {func(a *spec.App) { a.PreferRegions = []string{"eu", "eu"} }, "placement.preferred_regions", `not "eu" in place 2`},
		"many preferred":   {func(a *spec.App) { a.PreferRegions = shard.SortedKeys(many) }, "placement.preferred_regions", "at most 16"},
		"a cache":          {change: func(a *spec.App) { a.NonExclusive = true }},
		"a holding cache":  {change: func(a *spec.App) { a.NonExclusive, a.OnLoss = true, spec.Hold }},
		"overlap accepted": {change: func(a *spec.App) { a.AcceptOverlap, a.OnLoss = true, spec.Hold }},
		"hold":             {func(a *spec.App) { a.OnLoss = spec.Hold }, "on_coordination_loss", "set accept_overlap: true; of a cache, exclusive: false"},
		"unknown loss":     {func(a *spec.App) { a.OnLoss = 3 }, "on_coordination_loss", "not number 3"},
		"too many down":    {func(a *spec.App) { a.Maintenance.Down = &tooMany }, "maintenance.max_servers_down", "0 to 1048576"},
		"no window":        {func(a *spec.App) { a.Maintenance.Windows = []caps.Window{{}} }, "maintenance.windows[0].minutes", "1 to 1440, not 0"},
		"late window":      {func(a *spec.App) { a.Maintenance.Windows = []caps.Window{{Opens: 24 * time.Hour, Length: time.Hour}} }, "maintenance.windows[0].start", "00:00 to 23:59"},
		"scaled":           {change: scaled(nil)},
		"scaled of one": {func(a *spec.App) { a.Scaling = &scaling.Rule{Metric: "reads", Target: 1, Min: 2, Max: 3} }, "replica_scaling",
			"it needs secondaries, and this app has one replica of each shard; make it with replication primary-secondary or secondary-only"},
		"min above max":   {scaled(func(a *spec.App) { a.Scaling.Min = 7 }), "replica_scaling.min", "at most max, which is 6, not 7"},
		"target 0":        {scaled(func(a *spec.App) { a.Scaling.Target = 0 }), "replica_scaling.target", "the load that one replica is to have"},
		"constant metric": {scaled(func(a *spec.App) { a.Scaling.Metric = "primaries" }), "replica_scaling.metric", "each replica has 1 of it"},
		"unknown metric": {scaled(func(a *spec.App) { a.DefaultLoad = map[string]int64{"cpu": 1, "read": 2} }), "replica_scaling.metric",
			`placement.default_load names ([cpu read]), not "reads"; add it there`},
		"known metric":       {change: scaled(func(a *spec.App) { a.DefaultLoad = map[string]int64{"reads": 1} })},
		"beyond all":         {scaled(func(a *spec.App) { a.Scaling.Max = 17 }), "replica_scaling.max", "1 to 16, not 17"},
		"one replica scaled": {scaled(func(a *spec.App) { a.Scaling.Min = 1 }), "replica_scaling.min", "2 or more, because planned events may take 1 of them at once (maintenance.max_unavailable_replicas), not 1"},
		"all may be away":    {scaled(func(a *spec.App) { a.Maintenance.Unavailable = &two }), "replica_scaling.min", "3 or more"},
		"fewer than regions": {scaled(func(a *spec.App) { a.Replicas, a.RegionReplicas = 4, map[string]int{"eu": 2, "us": 2} }), "replica_scaling.min",
			"4 or more, because region_replicas asks for so many, not 2"},
		"begins outside": {scaled(func(a *spec.App) { a.Replicas = 7 }), "replicas", "replica_scaling.min to max (2 to 6)"},
		"preferred by none": {func(a *spec.App) { a.Replication, a.PreferRegions = spec.SecondaryOnly, []string{"eu"} },
			"placement.preferred_regions", "no primaries"},
	} {
		app := spec.App{Name: "kv", Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 8}}}
		c.change(&app)
		field, expected := app.Check()
		if field != c.field || !strings.Contains(expected, c.expected) || (field == "") != (expected == "") {
			t.Errorf("%s: %q: expected %s; wanted %q: %s", name, field, expected, c.field, c.expected)
		}
	}
}

// Who serves on when nobody vouches, and which specs promise one primary where another did not.
func TestOnePrimary(t *testing.T) {
	t.Parallel()
	exclusive, fencing, cache := spec.App{}, spec.App{NonExclusive: true, OnLoss: spec.Fence}, spec.App{NonExclusive: true}
	holding, accepted := spec.App{OnLoss: spec.Hold, AcceptOverlap: true}, spec.App{AcceptOverlap: true}
	for _, c := range []struct {
		app              spec.App
		serves, promises bool
	}{{exclusive, false, true}, {fencing, false, false}, {cache, true, false}, {holding, true, false}, {accepted, false, true}} {
		if c.app.ServesOn() != c.serves || c.app.OnePrimary() != c.promises {
			t.Errorf("%+v: serves on %v, promises one primary %v", c.app, c.app.ServesOn(), c.app.OnePrimary())
		}
		if loose := !c.promises; c.app.TightenedBy(exclusive) != loose || c.app.TightenedBy(accepted) || c.app.TightenedBy(cache) || c.app.TightenedBy(holding) {
			t.Errorf("%+v is tightened by %v", c.app, c.app.TightenedBy(exclusive))
		}
	}
	named := spec.App{Name: "kv", Space: shard.KeySpace{Named: true}}
	hashed := spec.App{Name: "kv", Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 8}}}
	replicated := hashed
	replicated.Replication = spec.PrimarySecondary
	for field, next := range map[string]spec.App{"key_space": named, "replication": replicated, "name": {}, "": hashed} {
		if got, _ := hashed.CheckUpdate(next); got != field {
			t.Errorf("update to %+v: wrong is %q, expected %q", next, got, field)
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	want := placement.Policy{Replicas: 1, Primary: true, Moves: 64, MovesPerServer: 8, TolerancePercent: 10}
	if diff := cmp.Diff(want, spec.App{}.Policy()); diff != "" {
		t.Errorf("defaults: %s", diff)
	}
	app := spec.App{Replication: spec.SecondaryOnly, RegionReplicas: map[string]int{"eu": 1}, Spread: locality.Zone, MaxMoves: 3, MaxMovesServer: 2, TolerancePercent: 5}
	want = placement.Policy{Replicas: 2, Spread: locality.Zone, Regions: map[string]int{"eu": 1}, Moves: 3, MovesPerServer: 2, TolerancePercent: 5}
	if diff := cmp.Diff(want, app.Policy()); diff != "" {
		t.Errorf("secondaries: %s", diff)
	}
	app = spec.App{Replication: spec.PrimarySecondary, Replicas: 3, PreferRegions: []string{"eu"}}
	if p := app.Policy(); p.Replicas != 3 || !p.Primary || len(p.PreferRegions) != 1 {
		t.Errorf("primaries and secondaries: %+v", p)
	}
}
