package latency

import (
	"slices"
	"strings"
	"time"
)

// MaxRegions is the most regions of a matrix; of more, those that come last in the order of names are left out.
const MaxRegions = 64

// Estimate is what is known of the round trips between two regions.
type Estimate struct {
	Median time.Duration // over pairs of agents
	Error  int           // half the span of the pairs over the median, per mille; of a single pair what its agents say of themselves
	Age    time.Duration // of the older coordinate of a pair, the median again, when the matrix was made
	Pairs  int           // how many there were
	// Configured says that somebody wrote the median down: no error, no age and no pairs.
	Configured bool
}

// Pair is one estimate and its two regions, which may be the same.
type Pair struct {
	From, To string // From ≤ To
	Estimate
}

// Matrix is the latency between regions, the same in both directions. The zero matrix knows nothing. It never changes once made.
type Matrix struct {
	pairs []Pair // in the order of From, To; each at most once, with a median above 0
}

// Of makes a matrix of pairs in any order and direction. Of two with the same regions the first counts; one without a median or without
// a name is left out.
func Of(pairs []Pair) Matrix {
	list := make([]Pair, 0, len(pairs))
	for _, p := range pairs {
		if p.From > p.To {
			p.From, p.To = p.To, p.From
		}
		if p.From != "" && p.Median > 0 {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b Pair) int { return order(a, b.From, b.To) })
	list = slices.CompactFunc(list, func(a, b Pair) bool { return a.From == b.From && a.To == b.To })
	known := regions(list)
	if len(known) > MaxRegions {
		last := known[MaxRegions-1]
		list = slices.DeleteFunc(list, func(p Pair) bool { return p.To > last })
	}
	return Matrix{pairs: list}
}

func order(p Pair, from, to string) int {
	if c := strings.Compare(p.From, from); c != 0 {
		return c
	}
	return strings.Compare(p.To, to)
}

func regions(pairs []Pair) []string {
	var names []string
	for _, p := range pairs {
		names = append(names, p.From, p.To)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Pairs lists what is known, in the order of names.
func (m Matrix) Pairs() []Pair { return slices.Clone(m.pairs) }

// Regions lists the regions of which anything is known.
func (m Matrix) Regions() []string { return regions(m.pairs) }

// Between is what is known of two regions; false: nothing.
func (m Matrix) Between(a, b string) (Estimate, bool) {
	if a > b {
		a, b = b, a
	}
	at, ok := slices.BinarySearchFunc(m.pairs, b, func(p Pair, to string) int { return order(p, a, to) })
	if !ok {
		return Estimate{}, false
	}
	return m.pairs[at].Estimate, true
}

// Medians that differ by less than a tenth, or less than a millisecond, are alike: their difference is within the error of good estimates.
const (
	alikePart  = 10
	alikeFloor = time.Millisecond
)

func alike(a, b time.Duration) bool {
	return max(a, b)-min(a, b) <= max(max(a, b)/alikePart, alikeFloor)
}

// Alike reports whether two matrices know the same pairs and say of each nearly the same.
func (m Matrix) Alike(other Matrix) bool {
	return slices.EqualFunc(m.pairs, other.pairs, func(a, b Pair) bool {
		return a.From == b.From && a.To == b.To && alike(a.Median, b.Median)
	})
}

// Ranks orders the other regions by how near they are to one: 0 is nearest, and regions that are alike share a rank. Of a region that is
// missing nothing is known.
func (m Matrix) Ranks(from string) map[string]int {
	type other struct {
		region string
		median time.Duration
	}
	var list []other
	for _, p := range m.pairs {
		switch {
		case p.From == p.To:
		case p.From == from:
			list = append(list, other{p.To, p.Median})
		case p.To == from:
			list = append(list, other{p.From, p.Median})
		}
	}
	slices.SortFunc(list, func(a, b other) int {
		if a.median != b.median {
			return int(a.median - b.median)
		}
		return strings.Compare(a.region, b.region)
	})
	ranks := make(map[string]int, len(list))
	rank, first := 0, time.Duration(0)
	for i, o := range list {
		if i == 0 || !alike(o.median, first) {
			rank, first = len(ranks), o.median
		}
		ranks[o.region] = rank
	}
	return ranks
}

// Or fills what m does not know from an older matrix, aged by how much older that is; beyond a limit it is forgotten.
func (m Matrix) Or(old Matrix, older, limit time.Duration) Matrix {
	pairs := m.Pairs()
	for _, p := range old.pairs {
		if p.Age += older; p.Age <= limit {
			pairs = append(pairs, p)
		}
	}
	return Of(pairs)
}
