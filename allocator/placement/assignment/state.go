package assignment

import (
	"github.com/shardmanager/shardmanager/allocator/placement/lanes"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/pairs"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// Vector is an amount per tier of the search: tier 0 is what is broken, the goals' tiers follow.
type Vector [problem.MaxTiers + 1]int64

// State is an assignment with all sums that the search needs, kept incrementally. Only Apply changes it.
type State struct {
	M     *layout.Model
	Place []int32 // [Replicas]: server, or nowhere

	Use   []int64  // [(Servers + 1) × Metrics]: load of the replicas that are there
	Slack []int64  // [(Servers + 1) × Metrics]: capacity less use, less what left its start and is charged on. Means nothing for nowhere
	room  []uint64 // [(Servers + 1) × words]: slack in lanes; all there is for nowhere
	lead  []uint64 // [Replicas]: the first word of what a replica frees by leaving its server
	Goal  []int64  // [(Servers + 1) × tiers]: what each server costs by itself, tier 0 included
	Costs Vector   // of the whole assignment
	Least Vector   // what any assignment costs at least, tier by tier

	count    []int32 // [cells]: replicas of a large group in a domain of a row
	distinct []int32 // [rows]: domains of a row with a replica, without nowhere's
	lacking  int64   // domains that spreads lack, replicas too many in one, and replicas whose relation is broken
	pairs    int64   // of replicas that exclude each other and are on one server
	astray   int64   // replicas where they are not eligible

	moved     []int32 // [Groups]: replicas away from their start
	crowds    []int32 // [crowds]: likewise
	movedHist []int32 // [largest crowd + 1]: crowds by moved
	movedMost int32
	MovedAll  int32
	Touched   []int32 // [Servers + 1]: replicas that started there and are elsewhere, and that came there

	Held       []int32 // [Servers + 1]: replicas there
	Head       []int32 // [Servers + 1]: a replica on the server, or -1
	Next, prev []int32 // [Replicas]: the others of its server, in a circle

	peaks   peaks
	pairsOf []*pairs.Table // [Failovers]: replicas that lead by their domain, and that of another of their group

	short, free []uint64 // [words], scratch
	Unchecked   bool     // moves may break constraints: the start is being built, or an assignment is restored
}

// New is the assignment that a problem says its search begins with.
func New(m *layout.Model) *State {
	s := &State{
		M:         m,
		Place:     make([]int32, m.Replicas),
		Use:       make([]int64, (m.Servers+1)*m.Metrics),
		Slack:     make([]int64, (m.Servers+1)*m.Metrics),
		Goal:      make([]int64, (m.Servers+1)*m.Tiers),
		count:     make([]int32, m.Cells),
		distinct:  make([]int32, len(m.Rows)),
		moved:     make([]int32, m.Groups),
		Touched:   make([]int32, m.Servers+1),
		Held:      make([]int32, m.Servers+1),
		Head:      make([]int32, m.Servers+1),
		Next:      make([]int32, m.Replicas),
		prev:      make([]int32, m.Replicas),
		room:      make([]uint64, (m.Servers+1)*m.Packs.Words),
		lead:      make([]uint64, m.Replicas),
		short:     make([]uint64, m.Packs.Words),
		free:      make([]uint64, m.Packs.Words),
		Unchecked: true,
	}
	copy(s.Slack, m.Capacity)
	s.newPeaks()
	for t := range s.Head {
		s.Head[t] = -1
	}
	s.newCrowds()
	copy(s.Place, m.Home)
	for r, t := range m.Home {
		s.link(int32(r), t)
		s.charge(int32(r), t)
		s.lead[r] = s.packed(int32(r), t)[0]
	}
	s.newPairs()
	for i := range m.Rows {
		s.countRow(int32(i))
	}
	s.countBroken()
	s.Costs[0] = s.lacking + s.pairs + s.astray
	for t := range m.Servers {
		s.price(int32(t), true)
		s.pack(int32(t))
	}
	for i := range m.Packs.Words {
		s.room[m.Servers*m.Packs.Words+i] = lanes.Most * lanes.Ones
	}
	for r, t := range m.Home {
		s.addPlace(int32(r), t)
	}
	s.Least = m.Bound
	tier := m.Movement.Tier + 1
	s.Least[tier] = min(s.Least[tier]+m.LeastMove(), max(s.Least[tier], s.Costs[tier])) // all stay, or something moves
	for r, t := range m.First {
		if t == problem.Unplaced {
			t = m.Nowhere
		}
		s.Apply(int32(r), t)
	}
	s.Unchecked = false
	return s
}

// charge adds replica r to the sums of the server where it starts.
func (s *State) charge(r, t int32) {
	n := s.M.Metrics
	use, slack := s.Use[int(t)*n:][:n:n], s.Slack[int(t)*n:][:n:n]
	for i, l := range s.M.LoadOf(r) {
		use[i] += l
		slack[i] -= l
	}
}

// addPlace adds what replica r costs at its start to the tiers: its affinities, or that it has no place.
func (s *State) addPlace(r, t int32) {
	for tier := 1; tier < s.M.Tiers; tier++ {
		s.Costs[tier] += s.M.Place(r, t, tier)
	}
	if t == s.M.Nowhere {
		s.Costs[s.M.Unplaced.Tier+1] += s.M.Unplaced.Weight
	}
}

// price computes anew what server t costs by itself; what it breaks only where something is broken, or may be.
func (s *State) price(t int32, careful bool) {
	n := s.M.Metrics
	use := s.Use[int(t)*n:][:n:n]
	own := s.Goal[int(t)*s.M.Tiers:][:s.M.Tiers]
	if careful {
		over := s.overflow(t)
		s.Costs[0] += over - own[0]
		own[0] = over
	}
	for tier := 1; tier < len(own); tier++ {
		cost := s.M.Goals(t, tier, use, s.Held[t])
		s.Costs[tier] += cost - own[tier]
		own[tier] = cost
	}
	if len(s.peaks.of) > 0 {
		s.setPeaks(t)
	}
}

// Apply moves replica r to a server or to nowhere. It checks nothing.
func (s *State) Apply(r, to int32) {
	from := s.Place[r]
	if from == to {
		return
	}
	m := s.M
	careful := s.Costs[0] > 0 || s.Unchecked
	s.Costs[0] -= s.lacking + s.pairs + s.astray
	s.shiftGroup(r, from, to, careful)
	s.Costs[0] += s.lacking + s.pairs + s.astray
	for tier := 1; tier < m.Tiers; tier++ {
		if len(m.Affinities.Of(tier)) > 0 {
			s.Costs[tier] += s.M.Place(r, to, tier) - s.M.Place(r, from, tier)
		}
	}
	if s.pairsOf != nil {
		s.shiftPairs(r, from, to)
	}
	s.shiftMovement(r, from, to)
	s.shiftLoad(r, from, to)
	s.unlink(r, from)
	s.link(r, to)
	s.Place[r] = to
	s.price(from, careful)
	s.price(to, careful)
	s.pack(from)
	s.pack(to)
	s.lead[r] = s.packed(r, to)[0]
}

// Weigh goes on with another model of the same problem, in which goals of servers by themselves have other weights.
func (s *State) Weigh(m *layout.Model) {
	s.M = m
	for t := range m.Nowhere {
		s.price(t, false)
	}
}

// CostsBy is what the assignment costs by the weights of another such model.
func (s *State) CostsBy(m *layout.Model) Vector {
	costs := s.Costs
	for t := range m.Nowhere {
		for tier := 1; tier < m.Tiers; tier++ {
			costs[tier] += m.Goals(t, tier, s.Use[int(t)*m.Metrics:][:m.Metrics], s.Held[t]) - s.Goal[int(t)*m.Tiers+tier]
		}
	}
	return costs
}

func (s *State) shiftLoad(r, from, to int32) {
	n := s.M.Metrics
	load, leaving, coming := s.M.LoadOf(r), s.M.Charged(r, from), s.M.Charged(r, to)
	useFrom, slackFrom := s.Use[int(from)*n:][:n:n], s.Slack[int(from)*n:][:n:n]
	useTo, slackTo := s.Use[int(to)*n:][:n:n], s.Slack[int(to)*n:][:n:n]
	for i, l := range load {
		useFrom[i] -= l
		slackFrom[i] += leaving[i]
		useTo[i] += l
		slackTo[i] -= coming[i]
	}
}

// pack computes anew the room of server t.
func (s *State) pack(t int32) {
	if t != s.M.Nowhere {
		n, w := s.M.Metrics, s.M.Packs.Words
		s.M.Packs.Pack(s.Slack[int(t)*n:][:n:n], s.room[int(t)*w:][:w:w])
	}
}

func (s *State) link(r, t int32) {
	next, last := r, r
	if first := s.Head[t]; first >= 0 {
		next, last = first, s.prev[first]
	}
	s.Next[r], s.prev[r] = next, last
	s.prev[next], s.Next[last] = r, r
	s.Head[t] = r
	s.Held[t]++
}

func (s *State) unlink(r, t int32) {
	last, next := s.prev[r], s.Next[r]
	s.Next[last], s.prev[next] = next, last
	if s.Held[t]--; s.Held[t] == 0 {
		next = -1
	}
	if s.Head[t] == r || next < 0 {
		s.Head[t] = next
	}
}

// Turn is a replica on server t, which holds some; the next call's is the next one.
func (s *State) Turn(t int32) int32 {
	r := s.Head[t]
	s.Head[t] = s.Next[r]
	return r
}

func (v *Vector) Less(w *Vector, tiers int) bool {
	for t := range tiers {
		if v[t] != w[t] {
			return v[t] < w[t]
		}
	}
	return false
}
