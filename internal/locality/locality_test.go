package locality_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestShared(t *testing.T) {
	t.Parallel()
	full := shard.Locality{Region: "eu", Zone: "1", Rack: "r", Host: "h"}
	for _, c := range []struct {
		name   string
		a, b   shard.Locality
		shared []locality.Domain // all wider ones than those listed are shared too
	}{
		{"one host", full, full, []locality.Domain{locality.Host, locality.Rack, locality.Zone, locality.Region}},
		{"one rack", full, shard.Locality{Region: "eu", Zone: "1", Rack: "r", Host: "g"}, []locality.Domain{locality.Rack, locality.Zone, locality.Region}},
		{"one zone", full, shard.Locality{Region: "eu", Zone: "1", Rack: "q", Host: "h"}, []locality.Domain{locality.Zone, locality.Region}},
		{"one region", full, shard.Locality{Region: "eu", Zone: "2", Rack: "r", Host: "h"}, []locality.Domain{locality.Region}},
		{"nothing", full, shard.Locality{Region: "us", Zone: "1", Rack: "r", Host: "h"}, nil},
		{"both unknown", shard.Locality{}, shard.Locality{}, []locality.Domain{locality.Rack, locality.Zone, locality.Region}},
		{"one unknown", full, shard.Locality{}, nil},
		{"racks unknown", shard.Locality{Region: "eu", Zone: "1", Host: "h"}, shard.Locality{Region: "eu", Zone: "1", Host: "g"},
			[]locality.Domain{locality.Rack, locality.Zone, locality.Region}},
	} {
		var shared []locality.Domain
		for d := locality.Host; d <= locality.Region; d++ {
			if locality.Shared(c.a, c.b, d) {
				shared = append(shared, d)
			}
			if locality.Shared(c.a, c.b, d) != locality.Shared(c.b, c.a, d) {
				t.Errorf("%s: %v is not symmetric", c.name, d)
			}
		}
		if len(shared) != len(c.shared) || (len(shared) > 0 && shared[0] != c.shared[0]) {
			t.Errorf("%s: shared %v, expected %v", c.name, shared, c.shared)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	servers := []shard.Locality{
		{Region: "eu", Zone: "1", Host: "a"}, {Region: "eu", Zone: "1", Host: "a"}, {Region: "eu", Zone: "1"}, {Region: "eu", Zone: "1"}, {Region: "eu"}, {Region: "us", Zone: "1", Host: "a"}, {},
	}
	for d, want := range map[locality.Domain]int{locality.Host: 6, locality.Rack: 4, locality.Zone: 4, locality.Region: 3} {
		if got := locality.Count(servers, d); got != want {
			t.Errorf("%d %ss, expected %d", got, d, want)
		}
	}
}
