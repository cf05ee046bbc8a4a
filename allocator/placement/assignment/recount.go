package assignment

import (
	"fmt"
	"slices"
)

// Wrong recounts all sums from the places alone and says which of them differs; empty: none does. It costs as much as a new State: for
// binaries that check themselves (package invariant), and not at every move.
func (s *State) Wrong() string {
	fresh := New(s.M)
	fresh.Unchecked = true
	for r, t := range s.Place {
		fresh.Apply(int32(r), t)
	}
	servers, metrics := int(s.M.Nowhere), s.M.Metrics // sums of nowhere mean nothing
	switch {
	case s.Costs != fresh.Costs:
		return fmt.Sprintf("the assignment costs %v, %v by increments", fresh.Costs, s.Costs)
	case s.lacking != fresh.lacking || s.pairs != fresh.pairs || s.astray != fresh.astray:
		return fmt.Sprintf("broken: %d lacking, %d pairs and %d astray; %d, %d and %d by increments", fresh.lacking, fresh.pairs, fresh.astray, s.lacking, s.pairs, s.astray)
	case s.MovedAll != fresh.MovedAll || s.movedMost != fresh.movedMost:
		return fmt.Sprintf("%d moved, %d of one crowd; %d and %d by increments", fresh.MovedAll, fresh.movedMost, s.MovedAll, s.movedMost)
	}
	for _, sums := range []struct {
		what      string
		kept, new []int64
	}{
		{"use", s.Use[:servers*metrics], fresh.Use[:servers*metrics]}, {"slack", s.Slack[:servers*metrics], fresh.Slack[:servers*metrics]},
		{"cost of servers", s.Goal[:servers*s.M.Tiers], fresh.Goal[:servers*s.M.Tiers]},
	} {
		if !slices.Equal(sums.kept, sums.new) {
			return fmt.Sprintf("%s: %v, %v by increments", sums.what, sums.new, sums.kept)
		}
	}
	for _, counts := range []struct {
		what      string
		kept, new []int32
	}{
		{"replicas in domains", s.count, fresh.count}, {"domains of rows", s.distinct, fresh.distinct}, {"moved of groups", s.moved, fresh.moved},
		{"moved of crowds", s.crowds, fresh.crowds}, {"replicas of servers", s.Held, fresh.Held}, {"touched", s.Touched, fresh.Touched},
	} {
		if !slices.Equal(counts.kept, counts.new) {
			return fmt.Sprintf("%s: %v, %v by increments", counts.what, counts.new, counts.kept)
		}
	}
	return ""
}
