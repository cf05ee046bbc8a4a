package promise

import (
	"fmt"
	"time"
)

// Breach is a broken promise.
type Breach struct {
	Promise int // its number, 1 to 10
	At      time.Duration
	What    string
}

// String is one line.
func (b Breach) String() string {
	return fmt.Sprintf("promise %d (%s) broken at %.3f s: %s", b.Promise, names[b.Promise], b.At.Seconds(), b.What)
}

var names = [...]string{
	1: "one primary", 2: "terms only grow", 3: "no shard is lost", 4: "no request is dropped", 5: "constraints hold during moves",
	6: "maintenance caps hold", 7: "static stability", 8: "nothing sticks", 9: "hold, don't stampede", 10: "every decision explains itself",
}

// checker looks after one promise. What it returns is what is wrong, in words; empty: nothing.
type checker interface {
	see(at time.Duration, o Observation) string
}

// Watch looks after all promises.
type Watch struct {
	checkers map[int]checker
	breaches []Breach
}

// most is how many breaches are kept; the first is what matters.
const most = 16

// NewWatch begins to look.
func NewWatch() *Watch {
	return &Watch{checkers: map[int]checker{
		1: newOnePrimary(), 2: newTerms(), 3: newNothingLost(), 4: noneDropped{}, 5: newConstraints(), 6: capsHold{}, 7: stability{},
		8: newNothingSticks(), 9: noStampede{}, 10: newExplained(),
	}}
}

// See shows an observation to every checker.
func (w *Watch) See(at time.Duration, o Observation) {
	for n := 1; n <= len(w.checkers); n++ {
		if what := w.checkers[n].see(at, o); what != "" && len(w.breaches) < most {
			w.breaches = append(w.breaches, Breach{Promise: n, At: at, What: what})
		}
	}
}

// Breaches are those found so far, in order.
func (w *Watch) Breaches() []Breach { return w.breaches }
