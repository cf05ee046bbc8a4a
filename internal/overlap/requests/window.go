package requests

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoData says that a window holds no request: nothing can be concluded from it.
var ErrNoData = errors.New("no requests in the window")

// Summary of the requests that were due in a window.
type Summary struct {
	Requests, Failed, FailedReads, FailedWrites, Wrong int
	// P50, P99 and Max are latencies from the instant at which a request was due, those of failed requests included.
	P50, P99, Max time.Duration
}

// Window summarises the requests that were due in [from, to). An empty window is an error.
func Window(requests []Request, from, to int64) (Summary, error) {
	var s Summary
	var latencies []int64
	for _, r := range requests {
		if r.Start < from || r.Start >= to {
			continue
		}
		latencies = append(latencies, r.End-r.Start)
		switch {
		case r.Outcome == Wrong:
			s.Wrong++
		case r.Outcome == Failed && r.Kind == Read:
			s.FailedReads++
		case r.Outcome == Failed:
			s.FailedWrites++
		}
	}
	if len(latencies) == 0 {
		return Summary{}, fmt.Errorf("window [%d, %d) of %d requests: %w", from, to, len(requests), ErrNoData)
	}
	slices.Sort(latencies)
	s.Requests, s.Failed = len(latencies), s.FailedReads+s.FailedWrites
	s.P50, s.P99, s.Max = percentile(latencies, 50), percentile(latencies, 99), percentile(latencies, 100)
	return s, nil
}

// percentile is the smallest value that at least p percent of the sorted values do not exceed.
func percentile(sorted []int64, p int) time.Duration {
	return time.Duration(sorted[(len(sorted)*p+99)/100-1])
}

// Percentile is the smallest duration that at least p percent of the durations do not exceed, for small sets such as failover times. An
// empty set is an error.
func Percentile(durations []time.Duration, p int) (time.Duration, error) {
	if len(durations) == 0 {
		return 0, fmt.Errorf("percentile %d: %w", p, ErrNoData)
	}
	if p < 1 || p > 100 {
		return 0, fmt.Errorf("percentile %d: expected 1 to 100", p)
	}
	sorted := make([]int64, len(durations))
	for i, d := range durations {
		sorted[i] = int64(d)
	}
	slices.Sort(sorted)
	return percentile(sorted, p), nil
}
