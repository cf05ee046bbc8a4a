package assignment

import "github.com/shardmanager/shardmanager/allocator/placement/layout"

// Changed is what server t would cost by itself in a tier if replica in came and replica out left, either of which may be -1. Where it is above
// most, any amount above most is as good.
func (s *State) Changed(t, in, out int32, tier int, most int64) int64 {
	m := s.M
	if !m.Serves[tier] {
		return 0
	}
	held, more, less := s.Held[t], m.Zero, m.Zero
	if in >= 0 {
		held, more = held+1, m.LoadOf(in)
	}
	if out >= 0 {
		held, less = held-1, m.LoadOf(out)
	}
	return m.Changed(t, tier, s.Use[int(t)*m.Metrics:], more, less, held, most)
}

// ShiftDelta is what a tier costs more if replica r goes from one server to another. Where it is above most, any amount above most is as good.
func (s *State) ShiftDelta(r, from, to int32, tier int, most int64) int64 {
	return s.ShiftFrom(r, from, to, tier, s.Changed(from, -1, r, tier, layout.Much), most)
}

// ShiftFrom is ShiftDelta where it is known what the server that the replica leaves will cost by itself.
func (s *State) ShiftFrom(r, from, to int32, tier int, left, most int64) int64 {
	m := s.M
	d := left
	if m.Affinities.End[tier-1] < m.Affinities.End[tier] {
		d += s.M.Place(r, to, tier) - s.M.Place(r, from, tier)
	}
	if tier == m.Movement.Tier+1 {
		d += s.M.Moving(r, to) - s.M.Moving(r, from)
		if w := m.Movement.GroupWeight; w > 0 {
			g := m.Group[r]
			d += w * int64(s.mostMoved(g, s.M.AwayBy(r, from, to), g, 0))
		}
	}
	if tier == m.Unplaced.Tier+1 {
		d += s.placing(from, to)
	}
	if m.Wants[tier] {
		d += s.widened(r, from, to, tier)
	}
	if s.Peaks(tier) {
		d += s.peaking(r, -1, from, to, tier)
	}
	if s.failovers(tier) {
		d += s.pairing(r, -1, from, to, tier)
	}
	if m.Serves[tier] {
		d -= s.Goal[int(from)*m.Tiers+tier] + s.Goal[int(to)*m.Tiers+tier]
		d += s.Changed(to, r, -1, tier, most-d)
	}
	return d
}

// SwapDelta is what a tier costs more if replicas r and q of different groups, on servers a and b, change places. Where it is above most, any amount
// above most is as good.
func (s *State) SwapDelta(r, q, a, b int32, tier int, most int64) int64 {
	m, d := s.M, int64(0)
	if m.Affinities.End[tier-1] < m.Affinities.End[tier] {
		d += s.M.Place(r, b, tier) - s.M.Place(r, a, tier) + s.M.Place(q, a, tier) - s.M.Place(q, b, tier)
	}
	if tier == m.Movement.Tier+1 {
		d += s.M.Moving(r, b) - s.M.Moving(r, a) + s.M.Moving(q, a) - s.M.Moving(q, b)
		if w := m.Movement.GroupWeight; w > 0 {
			d += w * int64(s.mostMoved(m.Group[r], s.M.AwayBy(r, a, b), m.Group[q], s.M.AwayBy(q, b, a)))
		}
	}
	if m.Wants[tier] {
		d += s.widened(r, a, b, tier) + s.widened(q, b, a, tier)
	}
	if s.Peaks(tier) {
		d += s.peaking(r, q, a, b, tier)
	}
	if s.failovers(tier) {
		d += s.pairing(r, q, a, b, tier)
	}
	if m.Serves[tier] {
		d -= s.Goal[int(a)*m.Tiers+tier] + s.Goal[int(b)*m.Tiers+tier]
		if d += s.Changed(a, q, r, tier, most-d); d <= most {
			d += s.Changed(b, r, q, tier, most-d)
		}
	}
	return d
}

// PlacesCount reports whether a tier has costs that are a replica's and not a server's.
func (s *State) PlacesCount(tier int) bool {
	m := s.M
	return tier == 0 && s.lacking+s.pairs+s.astray > 0 || tier > 0 && m.Affinities.End[tier-1] < m.Affinities.End[tier] || m.Wants[tier] || s.failovers(tier) ||
		tier == m.Unplaced.Tier+1 && s.Held[m.Nowhere] > 0
}

// CostsHere reports whether a replica costs something in a tier because of where it is, apart from what its server costs by itself.
func (s *State) CostsHere(r int32, tier int) bool {
	m, t := s.M, s.Place[r]
	if m.Pinned(r) {
		return false
	}
	if t == m.Nowhere {
		return tier == m.Unplaced.Tier+1 && m.Unplaced.Weight > 0
	}
	g := m.Group[r]
	if tier == 0 {
		if !m.Eligible(r, t) || m.Exclusive[g] && s.pairs > 0 && s.neighbours(r, t) > 0 {
			return true
		}
		if s.lacking == 0 {
			return false
		}
		for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
			w := &m.Rows[i]
			if s.distinct[i] < w.Least || w.Most > 0 && s.there(i, m.DomainOf(w.Level, t), -1) > w.Most {
				return true
			}
		}
		return s.unmet(g, t) > 0
	}
	if s.M.Place(r, t, tier) > 0 || s.failovers(tier) && s.crowding(r, tier) {
		return true
	}
	if m.Wants[tier] {
		for i := m.RowStart[g]; i < m.RowStart[g+1]; i++ {
			if w := &m.Rows[i]; int(w.Tier) == tier && s.distinct[i] < w.Want && s.there(i, m.DomainOf(w.Level, t), -1) > 1 {
				return true
			}
		}
	}
	return false
}
