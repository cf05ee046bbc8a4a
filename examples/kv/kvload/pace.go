package kvload

import (
	"context"
	"time"
)

// pace calls due at every instant at which a request is due, rate times a second, until ctx ends. The schedule is fixed by the start:
// if due or the process was late, what is overdue follows at once, with the instants at which it should have been sent. due must not block.
func pace(ctx context.Context, rate int, due func(at time.Time)) {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		at := start.Add(offset(n, rate))
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		due(at)
	}
}

// offset is when request n is due, from the start. Whole seconds are exact at any rate.
func offset(n, rate int) time.Duration {
	return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}
