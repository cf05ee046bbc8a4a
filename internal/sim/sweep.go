package sim

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Sweep plays n seeds from one on, so many at once, and calls each with every result, one at a time, in no order, until ctx ends, with its error.
func Sweep(ctx context.Context, o Options, n uint64, workers int, each func(Result)) error {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return err
	}
	var next atomic.Uint64
	var telling sync.Mutex
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				one := o
				one.Seed, one.Trace = o.Seed+i, nil
				r, _ := Run(one) // the options are valid
				telling.Lock()
				each(r)
				telling.Unlock()
			}
		})
	}
	running.Wait()
	return ctx.Err()
}

// Shrink takes faults out of a run that breaks a promise, as long as it breaks that promise still, and returns the smaller run. It tries to leave
// out halves first, then ever smaller parts (delta debugging, Zeller and Hildebrandt 2002).
func Shrink(r Result) Result {
	if len(r.Breaches) == 0 {
		return r
	}
	broken := r.Breaches[0].Promise
	keep := r.Options.Keep
	if keep == nil {
		for i := range r.Faults {
			keep = append(keep, i)
		}
	}
	for size := max(1, len(keep)/2); ; {
		smaller, found := leaveOut(r, keep, size, broken)
		switch {
		case found:
			r, keep = smaller, smaller.Options.Keep
			size = min(size, max(1, len(keep)/2))
		case size == 1:
			return r
		default:
			size /= 2
		}
		if len(keep) == 0 {
			return r
		}
	}
}

// leaveOut looks for one part of the faults, of a size, that the breach does not need.
func leaveOut(r Result, keep []int, size, broken int) (Result, bool) {
	for at := 0; at < len(keep); at += size {
		o := r.Options
		o.Keep = append([]int{}, keep[:at]...)
		o.Keep = append(o.Keep, keep[min(len(keep), at+size):]...)
		smaller, _ := Run(o)
		if len(smaller.Breaches) > 0 && smaller.Breaches[0].Promise == broken {
			return smaller, true
		}
	}
	return r, false
}

// Played are the faults that a run played, each with its number.
func (r Result) Played() (numbers []int) {
	for i := range r.Faults {
		if r.Options.Keep == nil || slices.Contains(r.Options.Keep, i) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}
