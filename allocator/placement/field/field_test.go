package field_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/placement/field"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func TestMap(t *testing.T) {
	t.Parallel()
	site := func(region, zone, host string, accepts bool) field.Site {
		return field.Site{Locality: shard.Locality{Region: region, Zone: zone, Host: host}, Accepts: accepts}
	}
	m := field.NewMap([]field.Site{
		site("us", "1", "h", true), site("eu", "2", "", true), site("eu", "1", "", true), site("eu", "2", "", false), site("us", "1", "h", true),
	}, map[string]int{"eu": 2, "mars": 1}, [][]string{{"us"}, {"venus"}})
	if diff := cmp.Diff([]int{2, 1, 3, 0, 4}, m.Order); diff != "" {
		t.Errorf("order: %s", diff)
	}
	if diff := cmp.Diff([]field.Region{
		{Name: "eu", Span: field.Span{From: 0, To: 3}, Accepts: 2, Least: 2, Rank: 2},
		{Name: "mars", Least: 1, Rank: 2},
		{Name: "us", Span: field.Span{From: 3, To: 5}, Accepts: 2, Rank: 0},
	}, m.Regions); diff != "" {
		t.Errorf("regions: %s", diff)
	}
	if diff := cmp.Diff([][]int{{2}, nil, {0, 1}}, m.Ranks); diff != "" {
		t.Errorf("ranks: %s", diff)
	}
	notes := []string{"preferred region venus: no server is in it", "region_replicas: region mars: no server is in it"}
	if diff := cmp.Diff(notes, m.Empty([]string{"us", "venus"})); diff != "" {
		t.Errorf("notes: %s", diff)
	}
	// The two servers of us share a host; those of eu have none, and each counts.
	if want := [locality.Region + 1]int{locality.Host: 3, locality.Rack: 3, locality.Zone: 3, locality.Region: 2}; m.Open != want {
		t.Errorf("open domains %v, expected %v", m.Open, want)
	}
	if !m.Shared(1, 3, locality.Zone) || m.Shared(1, 3, locality.Host) || m.Shared(1, 2, locality.Zone) || !m.Shared(0, 4, locality.Host) {
		t.Error("wrong servers share a domain")
	}
}

func TestFindIsTheBestOfAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "leaves")
		tree := field.NewTree(n, 1, 1)
		keys, rooms := make([]int64, n), make([]int64, n)
		for range rapid.IntRange(0, 2*n).Draw(t, "changes") {
			leaf := rapid.IntRange(0, n-1).Draw(t, "leaf")
			keys[leaf], rooms[leaf] = rapid.Int64Range(1, 9).Draw(t, "key"), rapid.Int64Range(1, 9).Draw(t, "room")
			tree.Set(leaf, keys[leaf:leaf+1], load.Vector(rooms[leaf:leaf+1]))
		}
		spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) field.Span {
			from := rapid.IntRange(0, 20).Draw(t, "from")
			return field.Span{From: from, To: from + rapid.IntRange(0, 8).Draw(t, "length")}
		}), 0, 3)
		s := field.Search{Bound: rapid.Int64Range(1, 10).Draw(t, "bound"), Need: load.Vector{rapid.Int64Range(0, 9).Draw(t, "need")},
			Except: spans.Draw(t, "except"), Within: spans.Draw(t, "within")}
		if len(s.Within) == 0 {
			s.Within = nil
		}
		odd := rapid.Bool().Draw(t, "odd only")
		s.Allowed = func(leaf int) bool { return !odd || leaf%2 == 1 }
		in := func(list []field.Span, leaf int) bool {
			return slices.ContainsFunc(list, func(s field.Span) bool { return s.From <= leaf && leaf < s.To })
		}
		want := -1
		for leaf, key := range keys {
			if key > 0 && key < s.Bound && s.Need[0] <= rooms[leaf] && !in(s.Except, leaf) && (s.Within == nil || in(s.Within, leaf)) && s.Allowed(leaf) &&
				(want < 0 || key < keys[want]) {
				want = leaf
			}
		}
		if got := tree.Find(&s); got != want {
			t.Fatalf("found %d, expected %d of %v with room %v", got, want, keys, rooms)
		}
	})
}
