package engine

import (
	"github.com/shardmanager/shardmanager/allocator/placement/lanes"
	"github.com/shardmanager/shardmanager/allocator/placement/layout"
	"github.com/shardmanager/shardmanager/allocator/placement/problem"
)

// vector is an amount per tier of the search: tier 0 is what is broken, the goals' tiers follow.
type vector [problem.MaxTiers + 1]int64

// state is an assignment with all sums that the search needs, kept incrementally. Only apply changes it.
type state struct {
	m     *layout.Model
	place []int32 // [Replicas]: server, or nowhere

	use   []int64  // [(Servers + 1) × Metrics]: load of the replicas that are there
	slack []int64  // [(Servers + 1) × Metrics]: capacity less use, less what left its start and is charged on. Means nothing for nowhere
	room  []uint64 // [(Servers + 1) × words]: slack in lanes; all there is for nowhere
	goal  []int64  // [(Servers + 1) × tiers]: what each server costs by itself, tier 0 included
	cost  vector   // of the whole assignment
	bound vector   // what any assignment costs at least, tier by tier

	count    []int32 // [cells]: replicas of a large group in a domain of a row
	distinct []int32 // [rows]: domains of a row with a replica, without nowhere's
	lacking  int64   // domains that spreads lack, replicas too many in one, and replicas whose relation is broken
	pairs    int64   // of replicas that exclude each other and are on one server
	astray   int64   // replicas where they are not eligible

	moved     []int32 // [Groups]: replicas away from their start
	movedHist []int32 // [largest group + 1]: groups by moved
	movedMost int32
	movedAll  int32
	touched   []int32 // [Servers + 1]: replicas that started there and are elsewhere, and that came there

	held       []int32 // [Servers + 1]: replicas there
	head       []int32 // [Servers + 1]: a replica on the server, or -1; the others follow by next
	next, prev []int32 // [Replicas]

	useA, useB  []int64  // [Metrics], scratch
	short, free []uint64 // [words], scratch
	careful     bool     // what is broken is counted at every move: a loose round
	unchecked   bool     // moves may break constraints: the start is being built, or an assignment is restored
}

func newState(m *layout.Model) *state {
	s := &state{
		m:         m,
		place:     make([]int32, m.Replicas),
		use:       make([]int64, (m.Servers+1)*m.Metrics),
		slack:     make([]int64, (m.Servers+1)*m.Metrics),
		goal:      make([]int64, (m.Servers+1)*m.Tiers),
		count:     make([]int32, m.Cells),
		distinct:  make([]int32, len(m.Rows)),
		moved:     make([]int32, m.Groups),
		touched:   make([]int32, m.Servers+1),
		held:      make([]int32, m.Servers+1),
		head:      make([]int32, m.Servers+1),
		next:      make([]int32, m.Replicas),
		prev:      make([]int32, m.Replicas),
		useA:      make([]int64, m.Metrics),
		useB:      make([]int64, m.Metrics),
		room:      make([]uint64, (m.Servers+1)*m.Packs.Words),
		short:     make([]uint64, m.Packs.Words),
		free:      make([]uint64, m.Packs.Words),
		unchecked: true,
	}
	copy(s.slack, m.Capacity)
	for t := range s.head {
		s.head[t] = -1
	}
	most := int32(0)
	for g := range m.Groups {
		most = max(most, m.MemberStart[g+1]-m.MemberStart[g])
	}
	s.movedHist = make([]int32, most+1)
	s.movedHist[0] = int32(m.Groups)
	copy(s.place, m.Home)
	for r, t := range m.Home {
		s.link(int32(r), t)
		s.charge(int32(r), t)
	}
	for i := range m.Rows {
		s.countRow(int32(i))
	}
	s.countBroken()
	s.cost[0] = s.lacking + s.pairs + s.astray
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
	s.bound = m.Bound
	tier := m.Movement.Tier + 1
	s.bound[tier] = min(s.bound[tier]+m.LeastMove(), max(s.bound[tier], s.cost[tier])) // all stay, or something moves
	for r, t := range m.First {
		if t == problem.Unplaced {
			t = m.Nowhere
		}
		s.apply(int32(r), t)
	}
	s.unchecked = false
	return s
}

// charge adds replica r to the sums of the server where it starts.
func (s *state) charge(r, t int32) {
	n := s.m.Metrics
	use, slack := s.use[int(t)*n:][:n:n], s.slack[int(t)*n:][:n:n]
	for i, l := range s.m.LoadOf(r) {
		use[i] += l
		slack[i] -= l
	}
}

// addPlace adds what replica r costs at its start to the tiers: its affinities, or that it has no place.
func (s *state) addPlace(r, t int32) {
	for tier := 1; tier < s.m.Tiers; tier++ {
		s.cost[tier] += s.m.Place(r, t, tier)
	}
	if t == s.m.Nowhere {
		s.cost[s.m.Unplaced.Tier+1] += s.m.Unplaced.Weight
	}
}

// price computes anew what server t costs by itself; what it breaks only where something is broken, or may be.
func (s *state) price(t int32, careful bool) {
	n := s.m.Metrics
	use := s.use[int(t)*n:][:n:n]
	own := s.goal[int(t)*s.m.Tiers:][:s.m.Tiers]
	if careful {
		over := s.overflow(t)
		s.cost[0] += over - own[0]
		own[0] = over
	}
	for tier := 1; tier < len(own); tier++ {
		cost := s.m.Goals(t, tier, use, s.held[t])
		s.cost[tier] += cost - own[tier]
		own[tier] = cost
	}
}

// apply moves replica r to a server or to nowhere. It checks nothing.
func (s *state) apply(r, to int32) {
	from := s.place[r]
	if from == to {
		return
	}
	m := s.m
	careful := s.cost[0] > 0 || s.unchecked || s.careful
	s.cost[0] -= s.lacking + s.pairs + s.astray
	s.shiftGroup(r, from, to, careful)
	s.cost[0] += s.lacking + s.pairs + s.astray
	for tier := 1; tier < m.Tiers; tier++ {
		if len(m.Affinities.Of(tier)) > 0 {
			s.cost[tier] += s.m.Place(r, to, tier) - s.m.Place(r, from, tier)
		}
	}
	s.shiftMovement(r, from, to)
	s.shiftLoad(r, from, to)
	s.unlink(r, from)
	s.link(r, to)
	s.place[r] = to
	s.price(from, careful)
	s.price(to, careful)
	s.pack(from)
	s.pack(to)
}

func (s *state) shiftLoad(r, from, to int32) {
	n := s.m.Metrics
	load, leaving, coming := s.m.LoadOf(r), s.m.Charged(r, from), s.m.Charged(r, to)
	useFrom, slackFrom := s.use[int(from)*n:][:n:n], s.slack[int(from)*n:][:n:n]
	useTo, slackTo := s.use[int(to)*n:][:n:n], s.slack[int(to)*n:][:n:n]
	for i, l := range load {
		useFrom[i] -= l
		slackFrom[i] += leaving[i]
		useTo[i] += l
		slackTo[i] -= coming[i]
	}
}

// pack computes anew the room of server t.
func (s *state) pack(t int32) {
	if t != s.m.Nowhere {
		n, w := s.m.Metrics, s.m.Packs.Words
		s.m.Packs.Pack(s.slack[int(t)*n:][:n:n], s.room[int(t)*w:][:w:w])
	}
}

func (s *state) link(r, t int32) {
	first := s.head[t]
	s.next[r], s.prev[r] = first, -1
	if first >= 0 {
		s.prev[first] = r
	}
	s.head[t] = r
	s.held[t]++
}

func (s *state) unlink(r, t int32) {
	before, after := s.prev[r], s.next[r]
	if before >= 0 {
		s.next[before] = after
	} else {
		s.head[t] = after
	}
	if after >= 0 {
		s.prev[after] = before
	}
	s.held[t]--
}
