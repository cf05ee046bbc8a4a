package engine

import "github.com/shardmanager/shardmanager/allocator/placement/layout"

// leaver is what is known of a replica that might leave its server, wherever it goes. It spares most targets a closer look.
type leaver struct {
	r, from int32
	left    int64 // what its server would cost by itself in the tier that is being improved; -1: not asked yet
	higher  bool  // it may gain in a tier above, or something is broken
}

// weigh makes r the replica of which tryShift and trySwap ask.
func (s *Search) weigh(r int32) {
	d, from := &s.descent, s.Place[r]
	d.leaver = leaver{r: r, from: from, left: -1, higher: d.tier == 0 || s.Costs[0] > 0 || from == s.M.Nowhere || s.mayGain(r, from)}
}

// mayGain reports whether anything in a tier above the one that is being improved may cost less if replica r left its server.
func (s *Search) mayGain(r, from int32) bool {
	for tier := 1; tier < s.descent.tier; tier++ {
		if s.Costs[tier] == s.Least[tier] {
			continue
		}
		if s.serverMayGain(from, tier) || s.PlacesCount(tier) && s.CostsHere(r, tier) || tier == s.M.Movement.Tier+1 && s.M.Away(r, from) {
			return true
		}
	}
	return false
}

func (s *Search) serverMayGain(t int32, tier int) bool {
	return s.M.Serves[tier] && s.Goal[int(t)*s.M.Tiers+tier] > 0 || s.Peaks(tier)
}

// hopeless reports whether the shift of the replica that was weighed to a server is certainly no better than to stay, and than the best so far.
func (s *Search) hopeless(to int32, best *proposal) bool {
	l, tier := &s.descent.leaver, s.descent.tier
	if l.higher {
		return false
	}
	for above := 1; above < tier; above++ {
		if s.serverMayGain(to, above) {
			return false
		}
	}
	most, ok := s.toBeat(best)
	if !ok {
		return true
	}
	if l.left < 0 {
		if s.ShiftFrom(l.r, l.from, to, tier, 0, most) > most {
			return true
		}
		l.left = s.Changed(l.from, -1, l.r, tier, layout.Much)
	}
	return s.ShiftFrom(l.r, l.from, to, tier, l.left, most) > most
}

// hopelessSwap is hopeless for a swap with replica q.
func (s *Search) hopelessSwap(q int32, best *proposal) bool {
	l := &s.descent.leaver
	b := s.Place[q]
	if l.higher || b == s.M.Nowhere || s.mayGain(q, b) {
		return false
	}
	most, ok := s.toBeat(best)
	return !ok || s.SwapDelta(l.r, q, l.from, b, s.descent.tier, most) > most
}

// toBeat is what a proposal that gains nothing in a tier above may cost at most in the tier that is being improved; false: it cannot be any good.
func (s *Search) toBeat(best *proposal) (most int64, ok bool) {
	if best.r < 0 {
		return -1, true
	}
	for tier := 1; tier < s.descent.tier; tier++ {
		if best.delta[tier] < 0 {
			return 0, false
		}
	}
	return best.delta[s.descent.tier], true
}
