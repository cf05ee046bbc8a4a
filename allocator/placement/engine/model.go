package engine

import "github.com/shardmanager/shardmanager/allocator/placement/problem"

// vector is an amount per tier of the search: tier 0 is what is broken, the goals' tiers follow.
type vector [problem.MaxTiers + 1]int64

// model is a problem laid out for the search: flat, with one server more, nowhere, that has room for everything and costs nothing. It
// is where replicas without a place are. A model is never written after newModel.
type model struct {
	*problem.Problem
	nowhere int32   // = Servers
	tiers   int     // of the search: the goals' and what is broken
	start   []int32 // [Replicas], with nowhere for Unplaced
	soft    []int64 // [Replicas × Metrics]: the load in metrics that are not charged during a move, else 0; nil: 0 everywhere
	zero    []int64 // [Metrics]

	memberStart []int32 // [Groups + 1] into members
	members     []int32 // replicas, group by group

	domain []int32  // [levels × (Servers + 1)]; nowhere is in a domain of its own, the last
	width  []int32  // [levels]: number of domains, with nowhere's
	inside []inside // [levels]: servers by domain

	rowStart  []int32 // [Groups + 1] into rows
	rows      []row
	needStart []int32 // [Groups + 1] into needs
	needs     []need
	asked     []int32 // indexes of rows: who relates to the row that points here
	cells     int     // counters of all rows

	wants      [problem.MaxTiers + 1]bool // tiers with a soft spread
	affinities tiered[affinity]
	thresholds tiered[threshold]
	ratios     tiered[ratio]
	balances   tiered[evenness]
	moveCost   []int64 // [Replicas], weighted; nil: 0
	limit      []int64 // [(Servers + 1) × thresholds], in the order of thresholds
	share      []fair  // [(Servers + 1) × balances], in the order of balances
	uncapped   bool    // no cap on moves
}

// row counts the replicas of one group in each domain of one level.
type row struct {
	group, level       int32
	base               int32 // of its counters; -1: the group is small, and its members are counted when asked
	least, most, want  int32 // of the spread, 0 where it demands nothing
	tier               int32 // of want, from 1
	weight             int64
	askedFrom, askedTo int32 // into asked: rows that must not be where this group is not
	notFrom, notTo     int32 // into asked: rows that must not be where this group is
}

// need is one relation, to another group's row.
type need struct {
	row int32
	not bool
}

// tiered are goals of one kind in the order of their tiers: those of tier t are list[end[t-1]:end[t]].
type tiered[G any] struct {
	list []G
	end  [problem.MaxTiers + 1]int32
}

// inside lists the servers of one level domain by domain: those of d are servers[start[d]:start[d+1]].
type inside struct {
	start   []int32
	servers []int32
}

type affinity struct {
	level int32
	width int32 // of level
	scale int32
	of    []int32
	cost  []int64 // [rows × width], weighted
	best  []int32 // [rows]: the cheapest domain
}

type threshold struct {
	metric int32
	weight int64
}

type ratio struct {
	a, b           int32
	target, weight int64
}

type evenness struct {
	metric int32
	above  bool
	weight int64
}

// fair is what one server should use of one metric.
type fair struct{ share, slack, unit, free int64 }

func newModel(p *problem.Problem) (*model, error) {
	m := &model{Problem: p, nowhere: int32(p.Servers), tiers: p.Tiers + 1, zero: make([]int64, p.Metrics)}
	m.layPlaces()
	m.layGroups()
	m.layDomains()
	if err := m.layRows(); err != nil {
		return nil, err
	}
	m.layGoals()
	return m, nil
}

func (m *model) layPlaces() {
	m.start = make([]int32, m.Replicas)
	for r, s := range m.Start {
		if m.start[r] = s; s == problem.Unplaced {
			m.start[r] = m.nowhere
		}
	}
	all := true
	for _, d := range m.During {
		all = all && d
	}
	if all {
		return
	}
	m.soft = append([]int64(nil), m.Load...)
	for i := range m.soft {
		if m.During[i%m.Metrics] {
			m.soft[i] = 0
		}
	}
}

func (m *model) layGroups() {
	m.memberStart = make([]int32, m.Groups+1)
	for _, g := range m.Group {
		m.memberStart[g+1]++
	}
	for g := range m.Groups {
		m.memberStart[g+1] += m.memberStart[g]
	}
	m.members = make([]int32, m.Replicas)
	next := append([]int32(nil), m.memberStart...)
	for r, g := range m.Group {
		m.members[next[g]] = int32(r)
		next[g]++
	}
}

func (m *model) layDomains() {
	m.domain = make([]int32, len(m.Domains)*(m.Servers+1))
	m.width = make([]int32, len(m.Domains))
	m.inside = make([]inside, len(m.Domains))
	for l, domains := range m.Domains {
		row := m.domain[l*(m.Servers+1):][: m.Servers+1 : m.Servers+1]
		copy(row, domains)
		for _, d := range domains {
			m.width[l] = max(m.width[l], d+1)
		}
		row[m.nowhere] = m.width[l]
		m.width[l]++
		in := inside{start: make([]int32, m.width[l]+1), servers: make([]int32, m.Servers)}
		for _, d := range domains {
			in.start[d+1]++
		}
		for d := range m.width[l] {
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

// someServer draws a server of a domain; a domain may be empty, and then it is one anywhere.
func (m *model) someServer(level, domain int32, random *random) int32 {
	in := &m.inside[level]
	from, to := in.start[domain], in.start[domain+1]
	if from == to {
		return int32(random.below(m.Servers))
	}
	return in.servers[int(from)+random.below(int(to-from))]
}

func (m *model) membersOf(g int32) []int32 { return m.members[m.memberStart[g]:m.memberStart[g+1]] }
func (m *model) needsOf(g int32) []need    { return m.needs[m.needStart[g]:m.needStart[g+1]] }

func (m *model) domainOf(level, server int32) int32 {
	return m.domain[int(level)*(m.Servers+1)+int(server)]
}

// eligible reports whether replica r may be on server t.
func (m *model) eligible(r, t int32) bool {
	if m.Eligible == nil || t == m.nowhere {
		return true
	}
	class := int32(0)
	if m.Class != nil {
		class = m.Class[r]
	}
	bits := m.Eligible[class]
	return bits == nil || bits[t>>6]>>(uint(t)&63)&1 != 0
}

func (m *model) pinned(r int32) bool { return m.Pinned != nil && m.Pinned[r] }
