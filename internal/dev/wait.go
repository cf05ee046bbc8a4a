package dev

import (
	"context"
	"fmt"
	"time"
)

// await tries until a check passes; the error tells what was waited for and what the last try said.
func await(ctx context.Context, within time.Duration, what string, check func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := check(limit)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.Done():
			return fmt.Errorf("waited %v for %s: %w", within, what, err)
		case <-ticker.C:
		}
	}
}

// sleep waits; the error says why it was cut short.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
