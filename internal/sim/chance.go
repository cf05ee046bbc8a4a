package sim

import (
	"math/rand/v2"
	"time"
)

// chance is a source of randomness. Each purpose has its own, so that one fewer draw of one changes nothing of the others.
type chance struct{ *rand.Rand }

func newChance(seed, purpose uint64) chance { return chance{rand.New(rand.NewPCG(seed, purpose))} }

func (c chance) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.Int64N(int64(d)))
}

func (c chance) span(least, most time.Duration) time.Duration { return least + c.upTo(most-least) }

func (c chance) perMille(n int) bool { return n > 0 && c.IntN(1000) < n }

func (c chance) half() bool { return c.IntN(2) == 0 }

// pick is one of a list that is not empty.
func pick[T any](c chance, list []T) T { return list[c.IntN(len(list))] }
