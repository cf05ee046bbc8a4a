// Package retrybudget bounds how much work retries add: of what a client asked for in the last ten seconds, only a part may be asked again.
//
// Without such a bound, servers that are too slow for their clients' patience get every request several times over, and stay too slow.
// The SDK's Router is its only caller. It knows no clock: every call says when it is.
package retrybudget

import (
	"sync"
	"time"
)

// Window is the time over which requests and retries are set against each other, in whole seconds.
const Window = 10 * time.Second

const slots = int64(Window / time.Second)

// Budget counts requests and the retries granted, by second. It is safe for concurrent use.
type Budget struct {
	percent, perSecond int64

	mu     sync.Mutex
	second int64 // of the newest slot
	slots  [slots]count
	sum    count // of all slots
}

type count struct{ requests, retries int64 }

// New grants, within Window, percent retries for 100 requests, and perSecond retries a second whatever the requests.
func New(percent, perSecond int) *Budget {
	return &Budget{percent: int64(percent), perSecond: int64(perSecond)}
}

// Request notes a request, at a time since any fixed instant.
func (b *Budget) Request(at time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slot(at).requests++
	b.sum.requests++
}

// Retry grants a retry, or does not.
func (b *Budget) Retry(at time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	slot := b.slot(at)
	if 100*(b.sum.retries+1) > b.percent*b.sum.requests+100*b.perSecond*slots {
		return false
	}
	slot.retries++
	b.sum.retries++
	return true
}

// slot is that of the second; what is older than the window is forgotten. A time before the newest counts as the newest: callers read
// their clocks before they get the lock.
func (b *Budget) slot(at time.Duration) *count {
	second := int64(at / time.Second)
	if second-b.second >= slots {
		b.slots, b.sum, b.second = [slots]count{}, count{}, second
	}
	for b.second < second {
		b.second++
		old := &b.slots[b.second%slots]
		b.sum.requests -= old.requests
		b.sum.retries -= old.retries
		*old = count{}
	}
	return &b.slots[b.second%slots]
}
