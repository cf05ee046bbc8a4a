package tally

import (
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/internal/load"
)

// Unit is what a cost is counted in: one of these, or the name of a metric, in whose own unit it is.
type Unit string

// Units.
const (
	Places   Unit = "places"       // in a list of regions, one for each replica
	Domains  Unit = "domains"      // too few
	Replicas Unit = "replicas"     // that are where they should not be
	Micros   Unit = "microseconds" // of round trips, one for each replica
	Share    Unit = "permille"     // of a fair share
	Servers  Unit = "servers"      // as full as the fullest
	Price    Unit = "micros/hour"  // millionths of the currency
	Moves    Unit = "moves"

	Millionths Unit = "millionths"         // of a capacity
	TakeOvers  Unit = "squared take-overs" // too many by one domain from another
)

// String writes a change as people read it, such as "latency of primaries +12 ms".
func (c Cost) String() string {
	text := c.Unit.Text(c.Amount)
	if c.Amount > 0 {
		text = "+" + text
	}
	if strings.Contains(c.Goal, string(c.Unit)) {
		text = strings.TrimSuffix(text, " "+string(c.Unit)) // its name says it
	}
	return c.Goal + " " + text
}

// Text writes an amount with its unit.
func (u Unit) Text(n int64) string {
	switch u {
	case Micros:
		return decimal(n, 1000) + " ms"
	case Share:
		return decimal(n, 10) + " %"
	case Price:
		return decimal(n, 1_000_000) + " an hour"
	case Millionths:
		return decimal(n, 10_000) + " % of capacity"
	case Places, Domains, Replicas, Servers, Moves, TakeOvers:
		if n == 1 || n == -1 {
			return fmt.Sprintf("%d %s", n, strings.TrimSuffix(string(u), "s"))
		}
		return fmt.Sprintf("%d %s", n, string(u))
	}
	return fmt.Sprintf("%d %s", n, string(u))
}

// decimal writes n parts of which a whole has so many, with at most three digits, or the first that is not zero.
func decimal(n, parts int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", load.Plus(0, -n)
	}
	whole, rest := n/parts, n%parts
	if rest == 0 || whole >= 100 {
		return fmt.Sprintf("%s%d", sign, whole)
	}
	text := fmt.Sprintf("%0*d", len(fmt.Sprint(parts))-1, rest)
	keep := 1
	for whole == 0 && keep < len(text) && text[:keep] == strings.Repeat("0", keep) {
		keep++
	}
	text = strings.TrimRight(text[:keep], "0")
	if text == "" {
		return fmt.Sprintf("%s%d", sign, whole)
	}
	return fmt.Sprintf("%s%d.%s", sign, whole, text)
}
