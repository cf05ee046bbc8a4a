package kvserve

import (
	"sync/atomic"
	"time"
)

// meter counts a shard's requests, as a rate.
type meter struct {
	requests atomic.Int64 // since counted
	counted  time.Time    // when the count began; under the application's lock, as is rate
	rate     int64        // requests in 1 000 s, smoothed; −1: not known yet
}

func newMeter() meter { return meter{counted: time.Now(), rate: -1} }

// shortestCount is the least time that a rate is taken over.
const shortestCount = 2 * time.Second

// count folds what was counted into the rate, if that was for long enough.
func (m *meter) count(now time.Time) {
	elapsed := now.Sub(m.counted)
	if elapsed < shortestCount {
		return
	}
	rate := m.requests.Swap(0) * 1_000_000 / elapsed.Milliseconds()
	if m.rate >= 0 {
		rate = (3*m.rate + rate) / 4
	}
	m.rate, m.counted = rate, now
}

// collect adds the load of a shard to what CollectLoad answers: a rate does not depend on who asks how often, as a count would, and it is
// smoothed so that chance alone moves no shard.
func (m *meter) collect(loads map[string]map[string]int64, shard string) {
	if m.count(time.Now()); m.rate >= 0 {
		loads[shard] = map[string]int64{"requests": m.rate}
	}
}
