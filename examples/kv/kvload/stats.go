package kvload

import (
	"math/bits"
	"sync"
	"time"
)

// histogram counts latencies in microseconds, in buckets at most 1/64 wide, up to an hour.
type histogram struct {
	buckets [bucketCount]uint64
	total   uint64
}

const (
	bucketBits  = 6 // 64 buckets for every doubling
	bucketCount = (32 - bucketBits + 1) << bucketBits
)

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(d)]++
	h.total++
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	shift := max(bits.Len64(us)-bucketBits-1, 0)
	return min(shift<<bucketBits+int(us>>shift), bucketCount-1)
}

// highest is the highest latency that falls into a bucket.
func highest(bucket int) time.Duration {
	shift := max(bucket>>bucketBits-1, 0)
	return time.Duration((bucket-shift<<bucketBits+1)<<shift-1) * time.Microsecond
}

// percentile is an upper bound of the latency that p percent do not exceed; 0 if nothing was counted.
func (h *histogram) percentile(p uint64) time.Duration {
	wanted := (h.total*p + 99) / 100
	var seen uint64
	for bucket, n := range h.buckets {
		if seen += n; seen >= wanted && seen > 0 {
			return highest(bucket)
		}
	}
	return 0
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.total += o.total
}

// Counts of requests over some time.
type Counts struct {
	Requests     int64   `json:"requests"` // ended, failed ones included
	Failed       int64   `json:"failed"`   // errors after the Router's retries
	FailedReads  int64   `json:"failed_reads"`
	FailedWrites int64   `json:"failed_writes"`
	P50MS        float64 `json:"p50_ms"` // from the instant at which a request was due
	P99MS        float64 `json:"p99_ms"`
}

// stats collects what happened since the start and, apart, in the present second.
type stats struct {
	mu                   sync.Mutex
	violations           violations
	nearest              NearestCounts
	total, second        Counts
	totalTimes, nowTimes histogram
}

// ended counts a request.
func (s *stats) ended(write, failed bool, latency time.Duration, v violations) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.second.Requests++
	if failed {
		s.second.Failed++
		if write {
			s.second.FailedWrites++
		} else {
			s.second.FailedReads++
		}
	}
	s.nowTimes.add(latency)
	s.violations.add(v)
}

func (s *stats) violated(v violations) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations.add(v)
}

// turn ends the present second and returns the counts since the start and of that second.
func (s *stats) turn() (total, second Counts, v violations) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Requests += s.second.Requests
	s.total.Failed += s.second.Failed
	s.total.FailedReads += s.second.FailedReads
	s.total.FailedWrites += s.second.FailedWrites
	s.totalTimes.merge(&s.nowTimes)
	second = withPercentiles(s.second, &s.nowTimes)
	total = withPercentiles(s.total, &s.totalTimes)
	s.second, s.nowTimes = Counts{}, histogram{}
	return total, second, s.violations
}

func withPercentiles(c Counts, h *histogram) Counts {
	c.P50MS, c.P99MS = milliseconds(h.percentile(50)), milliseconds(h.percentile(99))
	return c
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
