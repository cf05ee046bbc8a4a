package engine

import (
	"cmp"
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/assignment"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/wyrand"
)

// descent improves tier by tier, hottest server first, with the best of sampled proposals; where samples find nothing more it looks at all
// targets. It ends where nothing improves. Its place in that is kept here, so that it can go on at any step.
type descent struct {
	over    bool    // nothing is left to do
	tier    int     // that is being improved, from 0: what is broken
	wide    bool    // all targets are looked at
	list    []int32 // servers, then replicas as -1 - replica, that cost something in the tier
	at      int
	better  bool // something improved since list was made
	sources []source
	leaver  leaver
	targets []int32
	random  wyrand.Random
}

// source is a replica that could leave its server.
type source struct {
	r    int32
	gain int64 // for its server, in the tier
}

const (
	mostSources = 12 // replicas of a server that are tried at once: those whose leaving helps most
	mostTargets = 24 // servers that are tried for a replica, unless all are
	mostAlike   = 2  // of replicas with the same loads and classes on one server
)

// descend does one piece of work: one server or one replica of the list.
func (s *Search) descend() {
	d := &s.descent
	if c := s.M.Caps.Total; c > 0 && s.MovedAll >= c {
		d.over = true // what is left to do takes another plan
		return
	}
	if d.at == len(d.list) {
		s.nextList()
		return
	}
	item := d.list[d.at]
	d.at++
	improved := false
	if item >= 0 && s.Peaks(d.tier) && !s.Hot(item, d.tier) {
		s.steps++ // others are fuller
	} else if item >= 0 {
		improved = s.cool(item)
	} else if r := -1 - item; s.CostsHere(r, d.tier) {
		improved = s.settle(r)
	}
	if improved {
		d.better = true
		s.note()
		if item >= 0 && s.Hot(item, d.tier) {
			d.at-- // once more
		}
	}
}

// nextList begins another pass: over the same tier while it got better, then over all targets, then over the next tier.
func (s *Search) nextList() {
	d := &s.descent
	switch {
	case d.list == nil:
	case d.better:
		d.wide = false
	case !d.wide:
		d.wide = true
	case d.tier+1 < s.M.Tiers:
		d.tier, d.wide = d.tier+1, false
	default:
		d.over = true
		return
	}
	d.better, d.at, d.list = false, 0, d.list[:0]
	if d.list == nil {
		d.list = []int32{}
	}
	if s.Costs[d.tier] == 0 {
		d.wide = true // nothing to do in this tier
		s.steps++
		return
	}
	for t := range s.M.Nowhere {
		if s.Heat(t, d.tier) > 0 {
			d.list = append(d.list, t)
		}
	}
	hot := func(t int32) int64 { return s.Heat(t, d.tier) }
	slices.SortStableFunc(d.list, func(a, b int32) int { return cmp.Compare(hot(b), hot(a)) })
	if s.PlacesCount(d.tier) {
		for r := range s.Place {
			if s.CostsHere(int32(r), d.tier) {
				d.list = append(d.list, -1-int32(r))
			}
		}
	}
	s.steps += int64(len(d.list)) + 1
}

// settle finds the best other place for one replica.
func (s *Search) settle(r int32) bool {
	best := proposal{r: -1}
	s.tryTargets(r, &best)
	if best.r < 0 && s.descent.tier > 0 && s.Place[r] != s.M.Nowhere {
		s.trySwaps(r, &best)
	}
	return s.carryOut(&best)
}

// cool takes from one server what makes it best.
func (s *Search) cool(t int32) bool {
	if c := s.M.Caps.Server; c != nil && s.Touched[t] >= c[t] {
		s.steps++
		return false
	}
	s.findSources(t)
	best := proposal{r: -1}
	for _, c := range s.descent.sources {
		s.tryTargets(c.r, &best)
	}
	if best.r < 0 {
		s.pull(t, &best)
	}
	if best.r < 0 {
		for _, c := range s.descent.sources {
			s.trySwaps(c.r, &best)
		}
	}
	return s.carryOut(&best)
}

// findSources are the replicas of a server whose leaving helps it most in the tier, few of those that are alike.
func (s *Search) findSources(t int32) {
	d := &s.descent
	d.sources = d.sources[:0]
	now := s.Heat(t, d.tier)
	for r, n := s.Head[t], s.Held[t]; n > 0; r, n = s.Next[r], n-1 {
		if s.M.Pinned(r) {
			continue
		}
		var after int64
		if d.tier == 0 {
			after = s.OverflowWithout(r, t)
		} else {
			after = s.HeatWithout(t, r, d.tier, now)
		}
		s.steps++
		if after < now {
			s.keep(source{r, now - after})
		}
	}
	if d.wide {
		slices.SortFunc(d.sources, source.compare)
		if !s.options.Ungrouped {
			s.dropAlike()
		}
	}
}

func (c source) compare(o source) int {
	return cmp.Or(cmp.Compare(o.gain, c.gain), cmp.Compare(c.r, o.r))
}

// keep adds a source; unless all targets are looked at, the list is in order, and has no more than mostSources.
func (s *Search) keep(c source) {
	d := &s.descent
	n := len(d.sources)
	if d.wide {
		d.sources = append(d.sources, c)
		return
	}
	at, alike := n, 0
	for at > 0 && c.compare(d.sources[at-1]) < 0 {
		at--
	}
	for i := at - 1; i >= 0 && d.sources[i].gain == c.gain && alike < mostAlike && !s.options.Ungrouped; i-- {
		if s.M.Alike(c.r, d.sources[i].r) {
			alike++
		}
	}
	if at == mostSources || alike == mostAlike {
		return
	}
	if n < mostSources {
		d.sources = append(d.sources, c)
	}
	copy(d.sources[at+1:], d.sources[at:])
	d.sources[at] = c
}

// dropAlike keeps few of the sources that are alike.
func (s *Search) dropAlike() {
	d := &s.descent
	kept, alike := d.sources[:0], 0
	for _, c := range d.sources {
		if alike++; len(kept) == 0 || kept[len(kept)-1].gain != c.gain || !s.M.Alike(kept[len(kept)-1].r, c.r) {
			alike = 1
		}
		if alike <= mostAlike {
			kept = append(kept, c)
		}
	}
	d.sources = kept
}

// proposal is the best one so far for some replicas: a shift of r to a server, or a swap with q.
type proposal struct {
	r, to, q int32
	delta    assignment.Vector
}

// tryTargets improves a proposal by the shifts of one replica.
func (s *Search) tryTargets(r int32, best *proposal) {
	s.weigh(r)
	if s.descent.wide {
		for t := range s.M.Nowhere {
			s.tryShift(r, t, best)
		}
		return
	}
	s.sampleTargets(r)
	for _, t := range s.descent.targets {
		s.tryShift(r, t, best)
	}
}

// sampleTargets draws servers for a replica: some everywhere, and some in each domain of the levels that its constraints and goals are about
// where it costs least.
func (s *Search) sampleTargets(r int32) {
	d, m := &s.descent, s.M
	d.targets = d.targets[:0]
	strata := 0
	for i := range m.Affinities.List {
		if g := &m.Affinities.List[i]; strata < 2 && !s.options.Ungrouped {
			domain := g.Best[g.Of[r]]
			for range mostTargets / 4 {
				d.targets = append(d.targets, s.someServer(g.Level, domain))
			}
			strata++
		}
	}
	if g, t := m.Group[r], s.Place[r]; m.RowStart[g] < m.RowStart[g+1] && t != m.Nowhere && !s.options.Ungrouped {
		level := m.Rows[m.RowStart[g]].Level // where it can go without losing what it has
		for range mostTargets / 3 {
			d.targets = append(d.targets, s.someServer(level, m.DomainOf(level, t)))
		}
	}
	if start := m.Home[r]; start != s.Place[r] && start != m.Nowhere {
		d.targets = append(d.targets, start)
	}
	for len(d.targets) < mostTargets {
		d.targets = append(d.targets, int32(d.random.Below(m.Servers)))
	}
}

// someServer draws a server of a domain; a domain may be empty, and then it is one anywhere.
func (s *Search) someServer(level, domain int32) int32 {
	if within := s.M.Within(level, domain); len(within) > 0 {
		return within[s.descent.random.Below(len(within))]
	}
	return int32(s.descent.random.Below(s.M.Servers))
}

func (s *Search) tryShift(r, to int32, best *proposal) {
	from := s.Place[r]
	s.steps++
	if to == from || !s.M.Eligible(r, to) || s.hopeless(to, best) || !s.Fits(r, to) {
		return
	}
	first := 1
	var d assignment.Vector
	same := best.r >= 0 // as good as the best so far, in the tiers so far
	if s.Costs[0] > 0 {
		first = 0
	}
	decided := false // better than to stay, in the tier that is being improved or above
	for tier := first; tier < s.M.Tiers; tier++ {
		if tier == 0 {
			if !s.Permits(r, from, to) {
				return
			}
			d[0] = -s.Mended(r, from, to)
		} else {
			d[tier] = s.ShiftDelta(r, from, to, tier, layout.Much)
		}
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
	if !decided || same || first == 1 && !s.Permits(r, from, to) {
		return
	}
	best.r, best.to, best.q, best.delta = r, to, -1, d
}

// carryOut does what a proposal says; false: there is none.
func (s *Search) carryOut(best *proposal) bool {
	if best.r < 0 {
		return false
	}
	if best.q >= 0 {
		before := s.Costs
		a := s.Place[best.r]
		if !s.exchange(best.r, best.q) {
			return false
		}
		if !s.Costs.Less(&before, s.M.Tiers) { // soft spreads of groups that both are in
			s.move(best.r, a)
			s.move(best.q, best.to)
			return false
		}
		return true
	}
	s.move(best.r, best.to)
	return true
}
