package virtual

import (
	"math/rand/v2"
	"time"
)

// Chance is a source of randomness. Each purpose has its own, so that one fewer draw of one changes nothing of the others.
type Chance struct{ *rand.Rand }

// NewChance is the source of a seed for one purpose.
func NewChance(seed, purpose uint64) Chance { return Chance{rand.New(rand.NewPCG(seed, purpose))} }

// UpTo is less than a duration, or 0.
func (c Chance) UpTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.Int64N(int64(d)))
}

// Span is from the least to the most.
func (c Chance) Span(least, most time.Duration) time.Duration { return least + c.UpTo(most-least) }

// PerMille is true so often in a thousand.
func (c Chance) PerMille(n int) bool { return n > 0 && c.IntN(1000) < n }

// Half is true every other time.
func (c Chance) Half() bool { return c.IntN(2) == 0 }

// Pick is one of a list that is not empty.
func Pick[T any](c Chance, list []T) T { return list[c.IntN(len(list))] }
