package engine

// pull improves a proposal by shifts to a server, which may have less than its share.
func (s *Search) pull(t int32, best *proposal) {
	d := &s.descent
	if s.m.Replicas == 0 || s.m.Balances.End[max(d.tier, 1)-1] == s.m.Balances.End[d.tier] {
		return
	}
	if d.wide {
		for r := range s.place {
			if !s.m.Pinned(int32(r)) {
				s.tryShift(int32(r), t, best)
			}
		}
		return
	}
	for range mostSources * mostTargets {
		if r := int32(d.random.Below(s.m.Replicas)); !s.m.Pinned(r) {
			s.tryShift(r, t, best)
		}
	}
}

// trySwaps improves a proposal by exchanges of one replica with others, drawn at random from other servers.
func (s *Search) trySwaps(r int32, best *proposal) {
	d := &s.descent
	s.sampleTargets(r)
	for _, t := range d.targets {
		if t == s.place[r] || s.held[t] == 0 || !s.m.Eligible(r, t) {
			continue
		}
		q := s.head[t]
		for range d.random.Below(int(min(s.held[t], 32))) {
			q = s.next[q]
		}
		for tries := 0; q >= 0 && tries < 4; tries++ {
			s.trySwap(r, q, best)
			q = s.next[q]
		}
	}
}

func (s *Search) trySwap(r, q int32, best *proposal) {
	a, b := s.place[r], s.place[q]
	s.steps++
	if s.m.Group[r] == s.m.Group[q] || s.m.Pinned(q) || !s.m.Eligible(q, a) || !s.fitsFor(r, q, b) || !s.fitsFor(q, r, a) {
		return
	}
	s.useWith(a, q, r, s.useA)
	s.useWith(b, r, q, s.useB)
	var d vector
	same, decided := best.r >= 0, false
	for tier := 1; tier < s.m.Tiers; tier++ {
		d[tier] = s.swapDelta(r, q, a, b, tier)
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
	if !decided || same || !s.permits(r, a, b) || !s.permits(q, b, a) {
		return
	}
	best.r, best.to, best.q, best.delta = r, b, q, d
}
