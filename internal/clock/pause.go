package clock

import (
	"context"
	"time"
)

// Pause waits, and reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Sleep waits; the error says why ctx cut it short.
func Sleep(ctx context.Context, d time.Duration) error {
	if !Pause(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}
