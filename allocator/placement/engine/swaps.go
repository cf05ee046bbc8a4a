package engine

import "github.com/shardmanager/shardmanager/allocator/placement/assignment"

// pull improves a proposal by shifts to a server, which may have less than its share.
func (s *Search) pull(t int32, best *proposal) {
	d := &s.descent
	if s.M.Replicas == 0 || s.M.Balances.End[max(d.tier, 1)-1] == s.M.Balances.End[d.tier] {
		return
	}
	if d.wide {
		for r := range s.Place {
			if !s.M.Pinned(int32(r)) {
				s.tryShift(int32(r), t, best)
			}
		}
		return
	}
	for range mostSources * mostTargets {
		if r := int32(d.random.Below(s.M.Replicas)); !s.M.Pinned(r) {
			s.tryShift(r, t, best)
		}
	}
}

// trySwaps improves a proposal by exchanges of one replica with others, drawn at random from other servers.
func (s *Search) trySwaps(r int32, best *proposal) {
	d := &s.descent
	s.sampleTargets(r)
	for _, t := range d.targets {
		if t == s.Place[r] || s.Held[t] == 0 || !s.M.Eligible(r, t) {
			continue
		}
		q := s.Head[t]
		for range d.random.Below(int(min(s.Held[t], 32))) {
			q = s.Next[q]
		}
		for tries := 0; q >= 0 && tries < 4; tries++ {
			s.trySwap(r, q, best)
			q = s.Next[q]
		}
	}
}

func (s *Search) trySwap(r, q int32, best *proposal) {
	a, b := s.Place[r], s.Place[q]
	s.steps++
	if s.M.Group[r] == s.M.Group[q] || s.M.Pinned(q) || !s.M.Eligible(q, a) || !s.FitsFor(r, q, b) || !s.FitsFor(q, r, a) {
		return
	}
	s.UseWith(a, q, r, s.UseA)
	s.UseWith(b, r, q, s.UseB)
	var d assignment.Vector
	same, decided := best.r >= 0, false
	for tier := 1; tier < s.M.Tiers; tier++ {
		d[tier] = s.SwapDelta(r, q, a, b, tier)
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
