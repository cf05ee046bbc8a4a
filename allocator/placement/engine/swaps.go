package engine

import (
	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
)

// abreast is how many replicas are drawn at once.
const abreast = 4

// pull improves a proposal by shifts to a server, which may have less than its share.
func (s *Search) pull(t int32, best *proposal) {
	d := &s.descent
	if s.M.Replicas == 0 || s.M.Balances.End[max(d.tier, 1)-1] == s.M.Balances.End[d.tier] {
		return
	}
	if d.wide {
		for r := range s.Place {
			if !s.M.Pinned(int32(r)) {
				s.weigh(int32(r))
				s.tryShift(int32(r), t, best)
			}
		}
		return
	}
	for range mostSources * mostTargets / abreast { // neighbours in memory cost no more than one
		first := d.random.Below(max(1, s.M.Replicas-abreast+1))
		for r := first; r < min(first+abreast, s.M.Replicas); r++ {
			if !s.M.Pinned(int32(r)) {
				s.weigh(int32(r))
				s.tryShift(int32(r), t, best)
			}
		}
	}
}

// mostOthers is how many replicas of a server are tried for a swap; the next time it is the turn of others.
const mostOthers = 4

// trySwaps improves a proposal by exchanges of one replica with some of other servers.
func (s *Search) trySwaps(r int32, best *proposal) {
	d := &s.descent
	s.weigh(r)
	s.sampleTargets(r)
	for _, t := range d.targets {
		if t == s.Place[r] || s.Held[t] == 0 || !s.M.Eligible(r, t) {
			continue
		}
		for range min(mostOthers, s.Held[t]) {
			s.trySwap(r, s.Turn(t), best)
		}
	}
}

func (s *Search) trySwap(r, q int32, best *proposal) {
	a, b := s.Place[r], s.Place[q]
	s.steps++
	if s.M.Group[r] == s.M.Group[q] || s.M.Pinned(q) || !s.M.Eligible(q, a) || !s.FitsFor(r, q, b) || !s.FitsFor(q, r, a) || s.hopelessSwap(q, best) {
		return
	}
	var d assignment.Vector
	same, decided := best.r >= 0, false
	for tier := 1; tier < s.M.Tiers; tier++ {
		d[tier] = s.SwapDelta(r, q, a, b, tier, layout.Much)
		switch {
		case !decided && (d[tier] > 0 || d[tier] == 0 && tier >= s.descent.tier), same && d[tier] > best.delta[tier]:
			return
		case d[tier] < 0:
			decided = true
		}
		if same && d[tier] < best.delta[tier] {
			same = false
		}
	}
	if !decided || same || !s.Permits(r, a, b) || !s.Permits(q, b, a) {
		return
	}
	best.r, best.to, best.q, best.delta = r, b, q, d
}
