package main

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/timing"
)

// TestThrash: loads that oscillate by a quarter of the tolerance move nothing here (with other seeds a shard or two, once), and with any amplitude no move
// is undone, though it would be if nobody remembered.
func TestThrash(t *testing.T) {
	const shards, servers, rounds = 256, 16, 60
	forgetful := 0
	for _, w := range waves() {
		play := func(remember bool) swing {
			a, err := newApp(shards, servers, 1)
			if err != nil {
				t.Fatal(err)
			}
			noReturn := timing.NoReturn
			if !remember {
				noReturn = 0
			}
			s, err := a.swing(w, rounds, noReturn)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := play(true)
		forgetful += play(false).Undone
		if s.Undone > 0 || w.amplitude <= 0.025 && s.Moves > 0 || w.amplitude >= 0.2 && s.Moves == 0 {
			t.Errorf("%+v", s)
		}
	}
	if forgetful == 0 {
		t.Error("without memory no move is undone either: the waves prove nothing")
	}
}
