package clock

import (
	"context"
	"fmt"
	"time"
)

// awaitEvery is how often a check is tried.
const awaitEvery = 50 * time.Millisecond

// Await tries until a check passes; the error tells what was waited for and what the last try said.
func Await(ctx context.Context, within time.Duration, what string, check func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	for {
		err := check(limit)
		if err == nil {
			return nil
		}
		select {
		case <-limit.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("waited %v for %s: %w", within, what, err)
		case <-ticker.C:
		}
	}
}
