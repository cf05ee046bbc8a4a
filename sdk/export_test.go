package sdk

import "github.com/shardmanager/shardmanager/internal/shard"

// WithClock replaces the clocks that the guard reads.
func WithClock(now func() shard.Instant) HostOption {
	return func(o *hostOptions) error {
		o.now = now
		return nil
	}
}

// Held is how many requests are held or forwarded now, and the bytes of their bodies.
func (h *Host) Held() (count int, bytes int64) {
	return h.holds.Held()
}
