package timing

import "time"

const (
	backoffFirst = 200 * time.Millisecond
	backoffMost  = 5 * time.Second
)

// Backoff is the pause after the nth failure in a row of a command, a read or a write, from 1: it doubles.
func Backoff(n int) time.Duration {
	d := backoffFirst
	for ; n > 1 && d < backoffMost; n-- {
		d *= 2
	}
	return min(d, backoffMost)
}
