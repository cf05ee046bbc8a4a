// Package load holds loads and capacities: vectors of integers in fixed point, one number for each metric.
//
// Sums saturate instead of wrapping, so that a wrong measurement can never make a full server look empty. Nothing here uses floating
// point: the same input gives the same bits on every machine. It is called by the placement solver and by whoever smooths measurements;
// it reads no clock and knows nothing of shards or servers.
package load

import (
	"iter"
	"math"
	"math/bits"
	"slices"
)

// Unlimited is the capacity of a metric that nobody limits; subtracting from it leaves it as it is.
const Unlimited = math.MaxInt64

// Metrics is a set of metric names in order; the positions of a Vector are its positions.
type Metrics struct {
	names []string
	at    map[string]int
}

// MetricsOf collects the names that occur in any of the loads.
func MetricsOf(loads iter.Seq[map[string]int64]) Metrics {
	m := Metrics{at: map[string]int{}}
	for l := range loads {
		for name := range l {
			if _, ok := m.at[name]; !ok {
				m.at[name] = 0
				m.names = append(m.names, name)
			}
		}
	}
	slices.Sort(m.names)
	for i, name := range m.names {
		m.at[name] = i
	}
	return m
}

// Len is the number of metrics.
func (m Metrics) Len() int { return len(m.names) }

// Name of the metric at a position.
func (m Metrics) Name(i int) string { return m.names[i] }

// Fill writes the load l into v; metrics that l lacks become absent.
func (m Metrics) Fill(v Vector, l map[string]int64, absent int64) {
	for i := range v {
		v[i] = absent
	}
	for name, value := range l {
		if at, ok := m.at[name]; ok {
			v[at] = value
		}
	}
}

// Vector is a load or a capacity by the positions of a Metrics.
type Vector []int64

// Vectors makes n vectors in one piece of memory.
func Vectors(n, length int) []Vector {
	all, list := make([]int64, n*length), make([]Vector, n)
	for i := range list {
		list[i] = all[i*length : (i+1)*length : (i+1)*length]
	}
	return list
}

// Add adds w to v; sums saturate.
func (v Vector) Add(w Vector) {
	for i, x := range w {
		v[i] = Plus(v[i], x)
	}
}

// Sub subtracts w from v; differences saturate, and what is Unlimited stays so.
func (v Vector) Sub(w Vector) {
	for i, x := range w {
		if v[i] != Unlimited {
			v[i] = sub(v[i], x)
		}
	}
}

// Fits reports whether a load of v fits where free is left. A metric that v does not use always fits, even where nothing is left.
func (v Vector) Fits(free Vector) bool {
	for i, x := range v {
		if x > 0 && x > free[i] {
			return false
		}
	}
	return true
}

// Plus is a + b; it saturates.
func Plus(a, b int64) int64 {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}

func sub(a, b int64) int64 {
	switch diff := a - b; {
	case a >= 0 && b < 0 && diff < 0:
		return math.MaxInt64
	case a < 0 && b > 0 && diff >= 0:
		return math.MinInt64
	default:
		return diff
	}
}

// MulDiv is a × b ÷ c for numbers of 0 and more, rounded down, computed in 128 bits; it saturates, and so it does for c = 0.
func MulDiv(a, b, c int64) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if c <= 0 || hi >= uint64(c) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(q, math.MaxInt64))
}
