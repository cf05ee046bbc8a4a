package memnet

import (
	"context"
	"time"
)

// Pass returns when a message would have arrived that is sent from one node to another now: for what is told by calls and needs no connection.
func (n *Network) Pass(ctx context.Context, from, to string) error {
	if n.delay > 0 {
		timer := time.NewTimer(n.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for {
		n.mu.Lock()
		passes, changed := n.passes(from, to), n.changed
		n.mu.Unlock()
		if passes {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
