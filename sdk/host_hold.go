package sdk

import (
	"sync"
	"time"
)

// Limits of what is held or being forwarded at once, over all shards of a Host; what exceeds them is refused as not executed
// (PROTOCOL R32).
const (
	// defaultHoldCount and defaultHoldBytes can be changed by WithHoldLimits.
	defaultHoldCount = 10_000
	defaultHoldBytes = 64 << 20
	// maxHold is the longest that a request is held, if its own deadline is not shorter.
	maxHold = 10 * time.Second
)

// holds is the account of held requests.
type holds struct {
	maxCount int
	maxBytes int64

	mu    sync.Mutex
	count int
	bytes int64
}

// ticket is one held request's part of the account.
type ticket struct {
	holds *holds
	bytes int64
}

// admit opens an account for one more request; false at the limit.
func (h *holds) admit() (*ticket, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count >= h.maxCount {
		return nil, false
	}
	h.count++
	return &ticket{holds: h}, true
}

// grow asks for n more bytes; false at the limit.
func (t *ticket) grow(n int64) bool {
	h := t.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes+n > h.maxBytes {
		return false
	}
	h.bytes += n
	t.bytes += n
	return true
}

func (t *ticket) release() {
	h := t.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count--
	h.bytes -= t.bytes
}
