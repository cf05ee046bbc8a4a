package embedded

import (
	"context"
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// watch is one follower of a prefix. changed holds at most one wake-up: states in between are skipped, the last one never is.
type watch struct {
	prefix  string
	changed chan struct{}
}

// Watch calls fn with the whole prefix, first at once and then after every change, until ctx or the store ends.
func (e *Engine) Watch(ctx context.Context, prefix string, fn func([]coord.Entry)) error {
	return e.watch(ctx, prefix, func(entries []coord.Entry, _ coord.Index) error {
		fn(entries)
		return nil
	})
}

func (e *Engine) watch(ctx context.Context, prefix string, fn func([]coord.Entry, coord.Index) error) error {
	w := &watch{prefix: prefix, changed: make(chan struct{}, 1)}
	if err := e.follow(w); err != nil {
		return err
	}
	defer e.unfollow(w)
	for {
		entries, index, err := e.list(ctx, prefix)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch %s: %w", prefix, err)
		}
		if err := fn(entries, index); err != nil {
			return err
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.closing.Done():
			return fmt.Errorf("watch %s: %w", prefix, errClosed)
		}
	}
}

func (e *Engine) follow(w *watch) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.watches) >= MaxWatches {
		return fmt.Errorf("watch %s: %w: %d watches exist already", w.prefix, coord.ErrUnavailable, MaxWatches)
	}
	e.watches[w] = struct{}{}
	return nil
}

func (e *Engine) unfollow(w *watch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.watches, w)
}

// wake tells the followers of what changed. The caller holds mu.
func (e *Engine) wake(c *change) {
	for w := range e.watches {
		for key := range c.entries {
			if !strings.HasPrefix(key, w.prefix) {
				continue
			}
			select {
			case w.changed <- struct{}{}:
			default: // it has not looked since the last change: one look will show both
			}
			break
		}
	}
}
