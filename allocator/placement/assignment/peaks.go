package assignment

import "github.com/shardmanager/shardmanager/allocator/placement/summit"

// peaks is how high servers are, for each goal that counts only the fullest, and how high some would be.
type peaks struct {
	of      []*summit.Heights // [Peaks]
	servers []int32           // scratch: those that a proposal touches
	heights []int32           // scratch: [Peaks × Together], how high it makes them
}

func (s *State) newPeaks() {
	for i := range s.M.Peaks.List {
		s.peaks.of = append(s.peaks.of, s.M.Peaks.List[i].Ground.Clone())
	}
	s.peaks.servers = make([]int32, 0, summit.Together)
	s.peaks.heights = make([]int32, len(s.peaks.of)*summit.Together)
}

// Peaks reports whether a tier has goals that count only the fullest.
func (s *State) Peaks(tier int) bool {
	return tier > 0 && s.M.Peaks.End[tier-1] < s.M.Peaks.End[tier]
}

// Touch begins to note what a proposal makes of servers. Then comes Raise, for each of them, and Peaking.
func (s *State) Touch() { s.peaks.servers = s.peaks.servers[:0] }

// Raise notes that replica in comes to server t and replica out leaves it, either of which may be -1.
func (s *State) Raise(t, in, out int32, tier int) {
	if t == s.M.Nowhere {
		return
	}
	n := len(s.peaks.servers)
	s.peaks.servers = append(s.peaks.servers, t)
	for i := int(s.M.Peaks.End[tier-1]); i < int(s.M.Peaks.End[tier]); i++ {
		s.peaks.heights[i*summit.Together+n] = s.height(i, t, in, out)
	}
}

// Peaking is what a tier's peaks cost more with the servers as noted.
func (s *State) Peaking(tier int) int64 {
	n, cost := len(s.peaks.servers), int64(0)
	for i := int(s.M.Peaks.End[tier-1]); i < int(s.M.Peaks.End[tier]); i++ {
		cost += s.M.Peaks.List[i].Weight * s.peaks.of[i].Change(s.peaks.servers, s.peaks.heights[i*summit.Together:][:n])
	}
	return cost
}

// peaking is what a tier's peaks cost more if replica r goes from server a to b, and q, or -1, back.
func (s *State) peaking(r, q, a, b int32, tier int) int64 {
	s.Touch()
	s.Raise(a, q, r, tier)
	s.Raise(b, r, q, tier)
	return s.Peaking(tier)
}

// height is how high server t would be for a peak if replica in came and replica out left.
func (s *State) height(peak int, t, in, out int32) int32 {
	metric := int(s.M.Peaks.List[peak].Metric)
	use := s.Use[int(t)*s.M.Metrics+metric]
	if in >= 0 {
		use += s.M.LoadOf(in)[metric]
	}
	if out >= 0 {
		use -= s.M.LoadOf(out)[metric]
	}
	return s.M.Height(peak, t, use)
}

// setPeaks computes anew how high server t is.
func (s *State) setPeaks(t int32) {
	if t == s.M.Nowhere {
		return
	}
	for tier := 1; tier < s.M.Tiers; tier++ {
		for i := int(s.M.Peaks.End[tier-1]); i < int(s.M.Peaks.End[tier]); i++ {
			s.Costs[tier] += s.M.Peaks.List[i].Weight * s.peaks.of[i].Set(t, s.height(i, t, -1, -1))
		}
	}
}

// Heat is how much server t costs by itself in a tier, or would cost if no other were fuller, so that the hottest are told apart.
func (s *State) Heat(t int32, tier int) int64 {
	heat := s.Goal[int(t)*s.M.Tiers+tier]
	if s.Peaks(tier) {
		for i := int(s.M.Peaks.End[tier-1]); i < int(s.M.Peaks.End[tier]); i++ {
			heat += s.M.Peaks.List[i].Weight * int64(s.peaks.of[i].Of(t))
		}
	}
	return heat
}

// HeatWithout is what of its heat would be left if replica r left server t, which is not nowhere. Where it is above most, any amount above most is as good.
func (s *State) HeatWithout(t, r int32, tier int, most int64) int64 {
	heat := s.Changed(t, -1, r, tier, most)
	if s.Peaks(tier) {
		for i := int(s.M.Peaks.End[tier-1]); i < int(s.M.Peaks.End[tier]); i++ {
			heat += s.M.Peaks.List[i].Weight * int64(s.height(i, t, -1, r))
		}
	}
	return heat
}

// Hot reports whether a tier costs less if server t does: it costs something by itself, or no other is fuller.
func (s *State) Hot(t int32, tier int) bool {
	if s.Goal[int(t)*s.M.Tiers+tier] > 0 {
		return true
	}
	if s.Peaks(tier) {
		for i := int(s.M.Peaks.End[tier-1]); i < int(s.M.Peaks.End[tier]); i++ {
			if s.peaks.of[i].Tops(t) {
				return true
			}
		}
	}
	return false
}
