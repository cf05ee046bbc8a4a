// Package layout lays a placement problem out for a search: flat arrays by index, with goals sorted by tier, and rows that say which spreads and
// relations touch which group. A [Model] is never written after [New], so searches that run side by side share it. It knows no assignment.
package layout

import (
	"slices"

	"github.com/shardmanager/shardmanager/allocator/placement/problem"
	"github.com/shardmanager/shardmanager/allocator/placement/summit"
)

// Model is a problem laid out for the search, with one server more, nowhere, that has room for everything and costs nothing. It is where replicas
// without a place are. Tiers are the search's: tier 0 is what is broken, the goals' tiers follow. Goals that cost nothing are left out.
type Model struct {
	*problem.Problem
	Nowhere int32   // = Servers
	Tiers   int     // of the search: the goals' and what is broken
	Home    []int32 // [Replicas]: where it started, with Nowhere for Unplaced
	Soft    []int64 // [Replicas × Metrics]: the load in metrics that are not charged during a move, else 0; nil: 0 everywhere
	Zero    []int64 // [Metrics]

	MemberStart []int32 // [Groups + 1] into Members
	Members     []int32 // replicas, group by group

	Domain []int32  // [levels × (Servers + 1)]; Nowhere is in a domain of its own, the last
	Width  []int32  // [levels]: number of domains, with Nowhere's
	inside []inside // [levels]: servers by domain

	RowStart  []int32 // [Groups + 1] into Rows
	Rows      []Row
	needStart []int32 // [Groups + 1] into needs
	needs     []Need
	Asked     []int32 // indexes of Rows: who relates to the row that points here
	Cells     int     // counters of all rows

	Wants      [problem.MaxTiers + 1]bool // tiers with a soft spread
	Serves     [problem.MaxTiers + 1]bool // tiers with goals of servers by themselves
	Affinities Tiered[Affinity]
	Thresholds Tiered[Threshold]
	Ratios     Tiered[Ratio]
	Balances   Tiered[Evenness]
	Peaks      Tiered[Peak]
	Failovers  Tiered[Failover]
	Crowd      []int32 // [Groups]: whose moves are counted together
	MoveCost   []int64 // [Replicas], weighted; nil: 0
	Limit      []int64 // [(Servers + 1) × Thresholds], in the order of Thresholds
	Per        []int64 // likewise: capacities of which millionths count; 0: units do
	Share      []Fair  // [(Servers + 1) × Balances], in the order of Balances
	PeakShare  []Fair  // [(Servers + 1) × Peaks], in the order of Peaks
	Uncapped   bool    // no cap on moves
	Packs      Packs

	Bound [problem.MaxTiers + 1]int64 // what each tier costs at least
}

// Row counts the replicas of one group in each domain of one level.
type Row struct {
	Group, Level       int32
	Base               int32 // of its counters; -1: the group is small, and its members are counted when asked
	Least, Most, Want  int32 // of the spread, 0 where it demands nothing
	Tier               int32 // of Want, from 1
	Weight             int64
	AskedFrom, AskedTo int32 // into Asked: rows that must not be where this group is not
	NotFrom, NotTo     int32 // into Asked: rows that must not be where this group is
}

// Need is one relation, to another group's row.
type Need struct {
	Row int32
	Not bool
}

// Tiered are goals of one kind in the order of their tiers: those of tier t are List[End[t-1]:End[t]].
type Tiered[G any] struct {
	List []G
	End  [problem.MaxTiers + 1]int32
}

// inside lists the servers of one level domain by domain: those of d are servers[start[d]:start[d+1]].
type inside struct {
	start   []int32
	servers []int32
}

// Affinity is problem.Affinity with weighted costs.
type Affinity struct {
	Level int32
	Width int32 // of Level
	Scale int32
	Of    []int32
	Cost  []int64 // [rows × Width], weighted
	Best  []int32 // [rows]: the cheapest domain
}

// Threshold is problem.Threshold; its limits are in Model.Limit.
type Threshold struct {
	Metric int32
	Weight int64
}

// Ratio is problem.Ratio.
type Ratio struct {
	A, B           int32
	Target, Weight int64
}

// Evenness is problem.Balance; what is fair is in Model.Share.
type Evenness struct {
	Metric int32
	Above  bool
	Weight int64
}

// Peak is a problem.Balance as a peak; what is fair is in Model.PeakShare.
type Peak struct {
	Metric int32
	Weight int64
	Whole  bool            // all servers are one domain
	Ground *summit.Heights // all at 0
}

// Failover is problem.Failover.
type Failover struct {
	Level  int32
	Weight int64
	Lead   []bool
	Fair   []int64
	Pairs  int // that it counts
}

// Fair is what one server should use of one metric.
type Fair struct {
	Share, Slack, Unit, Free int64
	per                      float64 // 1 / Unit
}

// New lays out a problem that is valid. It fails only where a limit of the layout is passed.
func New(p *problem.Problem) (*Model, error) {
	m := &Model{Problem: p, Nowhere: int32(p.Servers), Tiers: p.Tiers + 1, Zero: make([]int64, p.Metrics)}
	m.layPlaces()
	m.layGroups()
	m.layDomains()
	if err := m.layRows(); err != nil {
		return nil, err
	}
	m.layGoals()
	if err := m.layFailovers(); err != nil {
		return nil, err
	}
	m.layPacks()
	m.Bound = m.bound()
	return m, nil
}

func (m *Model) layPlaces() {
	m.Home = make([]int32, m.Replicas)
	for r, s := range m.Start {
		if m.Home[r] = s; s == problem.Unplaced {
			m.Home[r] = m.Nowhere
		}
	}
	all := true
	for _, d := range m.During {
		all = all && d
	}
	if all {
		return
	}
	m.Soft = append([]int64(nil), m.Load...)
	for i := range m.Soft {
		if m.During[i%m.Metrics] {
			m.Soft[i] = 0
		}
	}
}

func (m *Model) layGroups() {
	m.MemberStart = make([]int32, m.Groups+1)
	for _, g := range m.Group {
		m.MemberStart[g+1]++
	}
	for g := range m.Groups {
		m.MemberStart[g+1] += m.MemberStart[g]
	}
	m.Members = make([]int32, m.Replicas)
	next := append([]int32(nil), m.MemberStart...)
	for r, g := range m.Group {
		m.Members[next[g]] = int32(r)
		next[g]++
	}
}

func (m *Model) layDomains() {
	m.Domain = make([]int32, len(m.Domains)*(m.Servers+1))
	m.Width = make([]int32, len(m.Domains))
	m.inside = make([]inside, len(m.Domains))
	for l, domains := range m.Domains {
		row := m.Domain[l*(m.Servers+1):][: m.Servers+1 : m.Servers+1]
		copy(row, domains)
		for _, d := range domains {
			m.Width[l] = max(m.Width[l], d+1)
		}
		row[m.Nowhere] = m.Width[l]
		m.Width[l]++
		in := inside{start: make([]int32, m.Width[l]+1), servers: make([]int32, m.Servers)}
		for _, d := range domains {
			in.start[d+1]++
		}
		for d := range m.Width[l] {
			in.start[d+1] += in.start[d]
		}
		next := append([]int32(nil), in.start...)
		for t, d := range domains {
			in.servers[next[d]] = int32(t)
			next[d]++
		}
		m.inside[l] = in
	}
}

// Within are the servers of a domain.
func (m *Model) Within(level, domain int32) []int32 {
	in := &m.inside[level]
	return in.servers[in.start[domain]:in.start[domain+1]]
}

// MembersOf are the replicas of a group.
func (m *Model) MembersOf(g int32) []int32 { return m.Members[m.MemberStart[g]:m.MemberStart[g+1]] }

// NeedsOf are the relations of a group.
func (m *Model) NeedsOf(g int32) []Need { return m.needs[m.needStart[g]:m.needStart[g+1]] }

// DomainOf is the domain of a server at a level.
func (m *Model) DomainOf(level, server int32) int32 {
	return m.Domain[int(level)*(m.Servers+1)+int(server)]
}

// Eligible reports whether replica r may be on server t.
func (m *Model) Eligible(r, t int32) bool {
	if m.Problem.Eligible == nil || t == m.Nowhere {
		return true
	}
	class := int32(0)
	if m.Class != nil {
		class = m.Class[r]
	}
	bits := m.Problem.Eligible[class]
	return bits == nil || bits[t>>6]>>(uint(t)&63)&1 != 0
}

// Pinned reports whether a replica stays where it is.
func (m *Model) Pinned(r int32) bool { return m.Problem.Pinned != nil && m.Problem.Pinned[r] }

// Alike reports whether two replicas have the same loads and classes.
func (m *Model) Alike(r, q int32) bool {
	n := m.Metrics
	if !slices.Equal(m.Load[int(r)*n:][:n], m.Load[int(q)*n:][:n]) || m.Class != nil && m.Class[r] != m.Class[q] {
		return false
	}
	for i := range m.Affinities.List {
		if of := m.Affinities.List[i].Of; of[r] != of[q] {
			return false
		}
	}
	return true
}

// WithUnplaced appends places to a list, as a problem says them.
func (m *Model) WithUnplaced(list, places []int32) []int32 {
	for _, t := range places {
		if t == m.Nowhere {
			t = problem.Unplaced
		}
		list = append(list, t)
	}
	return list
}
