package latency

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// What Fold takes.
const (
	// MaxAge is how old a coordinate may be: its agent reports one every few seconds.
	MaxAge = 5 * time.Minute
	// MaxSamples of one region are used, the surest: with as many in two regions there are a thousand pairs.
	MaxSamples = 32
)

// Sample is the coordinate of one agent.
type Sample struct {
	Agent  string
	Region string // empty: unknown, and of no use
	At     Coordinate
	Age    time.Duration
}

func (s Sample) fit() bool {
	return s.Region != "" && s.Age <= MaxAge && s.At.Check() == nil
}

// Fold makes the matrix of agents' coordinates. Each agent may occur once; those that are too old or invalid count for nothing. What an
// agent says of its own error decides only who counts where there are many: a neighbour at one millisecond, where coordinates are off by
// three, spoils it for ever, however good it is between regions.
func Fold(samples []Sample) Matrix {
	by := map[string][]Sample{}
	for _, s := range samples {
		if s.fit() {
			by[s.Region] = append(by[s.Region], s)
		}
	}
	names := make([]string, 0, len(by))
	for name, list := range by {
		names = append(names, name)
		slices.SortFunc(list, surest)
		by[name] = list[:min(len(list), MaxSamples)]
	}
	slices.Sort(names)
	names = names[:min(len(names), MaxRegions)]
	var pairs []Pair
	for i, from := range names {
		for _, to := range names[i:] {
			if e, ok := estimate(by[from], by[to]); ok {
				pairs = append(pairs, Pair{From: from, To: to, Estimate: e})
			}
		}
	}
	return Of(pairs)
}

func surest(a, b Sample) int {
	return cmp.Or(cmp.Compare(a.At.Error, b.At.Error), cmp.Compare(a.Age, b.Age), strings.Compare(a.Agent, b.Agent))
}

// estimate is what the pairs of two regions say together; of one region with itself, its pairs of different agents.
func estimate(from, to []Sample) (Estimate, bool) {
	var distances, ages []time.Duration
	var errors []int
	for i, a := range from {
		for j, b := range to {
			if a.Region == b.Region && i <= j {
				continue
			}
			d, ok := Distance(a.At, b.At)
			if !ok {
				continue
			}
			distances, ages, errors = append(distances, d), append(ages, max(a.Age, b.Age)), append(errors, (a.At.Error+b.At.Error+1)/2)
		}
	}
	if len(distances) == 0 {
		return Estimate{}, false
	}
	e := Estimate{Median: max(median(distances), 1), Age: median(ages), Error: errors[0], Pairs: len(distances)}
	if len(distances) > 1 {
		e.Error = disagreement(distances, e.Median)
	}
	return e, true
}

// disagreement is half the span of sorted distances, as a part of their median, per mille. Among members in three regions the median was
// off by less than three times that, in nine of ten cases.
func disagreement(sorted []time.Duration, median time.Duration) int {
	half := float64(sorted[len(sorted)-1]-sorted[0]) / 2
	return int(math.Round(min(half/float64(median)*1000, Unknown)))
}

// median is the middle value, of an even number the mean of the two in the middle. It sorts the values.
func median[T ~int | ~int64](values []T) T {
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return values[middle-1] + (values[middle]-values[middle-1])/2
}
