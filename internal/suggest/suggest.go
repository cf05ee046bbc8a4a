// Package suggest finds what somebody may have meant who named something that is not there. It is pure.
//
// Called by whoever refuses a name.
package suggest

import "iter"

// mostKnown is how many names are looked at: more would take longer than a typing error is worth.
const mostKnown = 10_000

// Or is "; did you mean X?" if one of the known names is near, of equals the first in order; else empty.
func Or[S ~string](name S, known iter.Seq[S]) string {
	best, least, seen := S(""), 1+allowed(len(name)), 0
	for k := range known {
		if seen++; seen > mostKnown {
			break
		}
		if d := distance(string(name), string(k), least); d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + string(best) + "?"
}

// allowed is how many mistakes a name of a length may have.
func allowed(length int) int { return min(3, 1+length/4) }

// distance is how many letters must be changed, left out, put in or exchanged with their neighbour to make b of a (Damerau 1964, restricted); at least
// most if that is more than most.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
