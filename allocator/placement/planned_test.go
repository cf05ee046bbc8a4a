package placement_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/placement"
)

// Servers that a planned event is to take down: what leaves them, where it goes, and what stands still meanwhile.
func TestPlannedEvents(t *testing.T) {
	t.Parallel()
	one, two := placement.Policy{Replicas: 1, Primary: true}, placement.Policy{Replicas: 2, Primary: true}
	with := func(in placement.Input, change func(s *placement.Server), servers ...int) placement.Input {
		for _, i := range servers {
			change(&in.Servers[i])
		}
		return in
	}
	demotes := func(s *placement.Server) { s.Accepts, s.Demotes = false, true }
	yields := func(s *placement.Server) { s.Accepts, s.Yields = false, true }
	leaves := func(s *placement.Server) { s.Accepts, s.Leaving = false, true }
	still := func(in placement.Input) placement.Input {
		in.Still = true
		return in
	}
	planned := func(s *placement.Server) { s.Planned = true }
	for _, c := range []struct {
		name  string
		in    placement.Input
		moves string
	}{
		{"roles alone: the secondary in sync takes over", with(city(two, "eu/1 us/1 ap/1", "0 1s"), demotes, 0), "drain ^0:_>1_"},
		{"roles alone: without a secondary in sync it stays", with(city(two, "eu/1 us/1 ap/1", "0 1u", "2 1s"), demotes, 0), ""},
		{"roles alone: secondaries stay", with(city(two, "eu/1 us/1 ap/1", "1 0s"), demotes, 0), ""},
		{"primaries: by promotion where that is possible", with(city(two, "eu/1 us/1 ap/1", "0 1s"), yields, 0), "drain ^0:_>1_"},
		{"primaries: else they move", with(city(one, "eu/1 us/1", "0"), yields, 0), "drain 0:_>1_"},
		{"everything that leaves goes where nothing is planned", with(with(city(one, "eu/1 us/1 ap/1", "0", "2"), leaves, 0), planned, 1), "drain 0:_>2_"},
		{"but rather there than nowhere", with(with(city(one, "eu/1 us/1", "0"), leaves, 0), planned, 1), "drain 0:_>1_"},
		{"nothing is evened out meanwhile", with(city(one, "eu/1 us/1", "0", "0", "0", "0"), planned, 1), ""},
		{"nor while all of them are away", still(city(one, "eu/1 us/1", "0", "0", "0", "0")), ""},
	} {
		if got := short(placement.Solve(c.in)); got != c.moves {
			t.Errorf("%s: %q, expected %q", c.name, got, c.moves)
		}
	}
}
