package capacity_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/capacity"
	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// fleet is an app of 10 whole shards with two replicas each, of a load, on servers that can take 100.
func fleet(servers int, load int64) placement.Input {
	in := placement.Input{App: "kv", Policy: placement.Policy{Replicas: 2, Primary: true}}
	for i := range servers {
		in.Servers = append(in.Servers, placement.Server{ID: shard.ServerID(fmt.Sprintf("s%d.kv", i)), Accepts: true, Capacity: map[string]int64{"cpu": 100},
			Locality: shard.Locality{Region: []string{"eu", "us"}[i%2]}})
	}
	for i := range 10 {
		in.Shards = append(in.Shards, placement.Shard{ID: shard.ID(fmt.Sprint(i)), Load: map[string]int64{"cpu": load}, Replicas: make([]placement.Replica, 2)})
	}
	return in
}

func TestAdvise(t *testing.T) {
	zero, three := 0, 3
	for name, c := range map[string]struct {
		in                           placement.Input
		limits                       caps.Caps
		aim                          capacity.Aim
		servers, wanted, least, most int
		why, hold                    string
	}{
		"as they are":    {in: fleet(30, 100), servers: 30, wanted: 30, least: 29, most: 32, why: "2000 of cpu, on servers with 100, used to 70 %"},
		"too few":        {in: fleet(20, 100), servers: 20, wanted: 29, least: 29, most: 32},
		"too many":       {in: fleet(40, 100), servers: 40, wanted: 32, least: 29, most: 32},
		"fuller":         {in: fleet(30, 100), aim: capacity.Aim{Utilisation: 100, Tolerance: 50}, servers: 30, wanted: 30, least: 22, most: 44, why: "2000 of cpu, on servers with 100; and 2 that may be down at once"},
		"many down":      {in: fleet(30, 100), limits: caps.Caps{Down: &three}, aim: capacity.Aim{Utilisation: 100}, servers: 30, wanted: 26, least: 23, most: 26},
		"no load":        {in: fleet(9, 0), servers: 9, wanted: 3, least: 3, most: 3, why: "2 replicas of a shard, each on a server of its own; and 1 that may be down at once"},
		"none goes down": {in: fleet(9, 0), limits: caps.Caps{Down: &zero}, servers: 9, wanted: 2, least: 2, most: 2},
		"regions": {in: with(fleet(9, 0), func(in *placement.Input) { in.Policy.Regions = map[string]int{"eu": 1, "us": 1} }), servers: 9, wanted: 4, least: 4, most: 4,
			why: "region_replicas"},
		"one shard wants more": {in: with(fleet(9, 0), func(in *placement.Input) {
			in.Shards[3].Wanted, in.Shards[3].Replicas = 5, make([]placement.Replica, 5)
		}), servers: 9, wanted: 6, least: 6, most: 6, why: "5 replicas of a shard"},
		"drained": {in: with(fleet(9, 0), func(in *placement.Input) { in.Servers[1].Accepts, in.Servers[1].Leaving = false, true }), servers: 8, wanted: 8, least: 3, most: 3,
			hold: "s1.kv is to go down, or is drained"},
		"lost":           {in: with(fleet(9, 0), func(in *placement.Input) { in.Servers[1].Accepts = false }), servers: 8, wanted: 8, least: 3, most: 3, hold: "s1.kv takes no shards"},
		"moving":         {in: with(fleet(9, 0), func(in *placement.Input) { in.Servers[1].Moves = 2 }), servers: 9, wanted: 9, least: 3, most: 3, hold: "2 moves from or to s1.kv"},
		"missing":        {in: with(fleet(9, 0), func(in *placement.Input) { in.Shards[4].Replicas = nil }), servers: 9, wanted: 9, least: 3, most: 3, hold: "shard 4 has 0 of 2 replicas"},
		"no shard there": {in: with(fleet(9, 0), func(in *placement.Input) { in.Shards[4] = placement.Shard{Wanted: 9} }), servers: 9, wanted: 3, least: 3, most: 3},
		"no server":      {in: fleet(0, 100), wanted: 3, least: 3, most: 3},
		"no limits": {in: with(fleet(9, 100), func(in *placement.Input) {
			for i := range in.Servers {
				in.Servers[i].Capacity = nil
			}
		}), servers: 9, wanted: 3, least: 3, most: 3},
		"no end": {in: fleet(9, math.MaxInt64), servers: 9, wanted: 1165084, least: 1165084, most: 1165084},
	} {
		got := capacity.Advise(c.in, c.limits, c.aim)
		if got.Servers != c.servers || got.Wanted != c.wanted || got.Least != c.least || got.Most != c.most || !strings.Contains(got.Why, c.why) || (got.Hold == "") != (c.hold == "") ||
			!strings.Contains(got.Hold, c.hold) {
			t.Errorf("%s: %+v, expected %d servers, %d wanted, %d to %d, because of %q, hold %q", name, got, c.servers, c.wanted, c.least, c.most, c.why, c.hold)
		}
	}
	got := capacity.Advise(with(fleet(9, 10), func(in *placement.Input) { in.Policy.Regions = map[string]int{"us": 1, "za": 1} }), caps.Caps{DownRegion: &three}, capacity.Aim{})
	if text := fmt.Sprint(got.Regions, got.Metrics); text != "[{eu 5 0} {us 4 2} {za 0 2}] [{cpu 200 100 22 3}]" {
		t.Error(text)
	}
}

func with(in placement.Input, change func(*placement.Input)) placement.Input {
	change(&in)
	return in
}

// What is advised is advised no further once it is done, and while the load swings less than the tolerance nothing is removed that is added again.
func TestAdviceComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		aim := capacity.Aim{Utilisation: rapid.IntRange(20, 95).Draw(t, "utilisation"), Tolerance: rapid.IntRange(5, 40).Draw(t, "tolerance")}
		load := rapid.Int64Range(0, 500).Draw(t, "load")
		n := capacity.Advise(fleet(rapid.IntRange(1, 200).Draw(t, "servers"), load), caps.Caps{}, aim).Wanted
		if again := capacity.Advise(fleet(n, load), caps.Caps{}, aim); again.Wanted != n || n < again.Least {
			t.Fatalf("%d servers, and then %+v", n, again)
		}
		grown := capacity.Advise(fleet(0, load), caps.Caps{}, aim)
		in := fleet(grown.Wanted, load)
		grown = capacity.Advise(in, caps.Caps{}, aim)
		few := fleet(grown.Least, load-load*int64(aim.Tolerance)/100)
		if low := capacity.Advise(few, caps.Caps{}, aim); low.Wanted != grown.Least {
			t.Fatalf("%d at a load of %d, %d when it is lower by the tolerance: %+v", grown.Least, load, low.Wanted, low)
		}
	})
}
