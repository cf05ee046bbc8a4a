package webhook

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// batch is how many events are read from the log at once.
const batch = 64

// line is one target and how far it is.
type line struct {
	target Target
	deps   Deps
	client *http.Client
	count  counters
	wake   chan struct{} // capacity 1: whoever waits looks again

	mu        sync.Mutex
	running   bool
	state     pb.WebhookState
	at        events.Position // of the last event that it has, does not want, or will not get
	delivered uint64          // in this leadership
	failed    uint64          // likewise
	reason    string          // why the last attempt failed; empty: it did not
	dead      []message       // oldest first, DeadMost at most
	dropped   uint64          // dead letters that are not kept any more
	again     []message       // dead letters that an operator wants sent again
}

// run delivers the events of a leadership until ctx ends. It begins with a gap: what the target got of the leadership before is not known.
func (l *line) run(ctx context.Context, epoch shard.Epoch) {
	l.mu.Lock()
	l.running, l.state, l.at, l.delivered, l.failed, l.reason = true, pb.WebhookState_WEBHOOK_STATE_DELIVERING, events.Position{Epoch: epoch}, 0, 0, ""
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running = false
		l.client.CloseIdleConnections()
	}()
	before := events.Position{Sequence: 1} // of no leadership
	for ctx.Err() == nil {
		if m, ok := l.resent(); ok {
			if l.deliver(ctx, m) {
				l.sentAgain()
			}
			continue
		}
		list, news := l.deps.Events.Read(before, batch)
		for i := 0; i < len(list) && ctx.Err() == nil && !l.interrupted(); i++ {
			if before = list[i].Position; !l.tell(ctx, list[i]) {
				return
			}
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-news:
		case <-l.wake:
		case <-ctx.Done():
		}
	}
}

// tell delivers an event, if the target wants it; false: ctx ended before.
func (l *line) tell(ctx context.Context, e events.Event) bool {
	if l.target.Filter.Wants(e) {
		m, err := messageOf(l.deps.Cluster, e)
		if err != nil {
			l.deps.Log.Error().Err(err).Str("target", l.target.Name).Msg("event cannot be written for webhooks")
		} else if !l.deliver(ctx, m) {
			return false
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = e.Position
	return true
}

// deliver tries until the target has the message or it is a dead letter; false: ctx ended before.
func (l *line) deliver(ctx context.Context, m message) bool {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(l.deps.Pacing.First), backoff.WithMaxInterval(l.deps.Pacing.Longest),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
	for {
		err := l.target.attempt(ctx, l.client, l.deps.Pacing.Attempt, m)
		if err != nil && ctx.Err() != nil {
			return false
		}
		m.attempts++
		l.note(err)
		switch {
		case err == nil:
			return true
		case errors.Is(err, errGone):
			l.deps.Log.Error().Str("target", l.target.Name).Msg("webhook answered 410 and is disabled: take it out of the configuration, or replay its dead letters")
			if !l.enabled(ctx) {
				return false
			}
			m.attempts = 0
			pauses.Reset()
			continue
		case m.attempts >= l.deps.Pacing.Attempts:
			m.reason = err.Error()
			l.bury(m)
			return true
		}
		if !l.pause(ctx, pauses.NextBackOff()) {
			return false
		}
	}
}

// pause waits, until an operator wants something at most; false: ctx ended.
func (l *line) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// enabled waits until the target is not disabled any more; false: ctx ended before.
func (l *line) enabled(ctx context.Context) bool {
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return false
		}
		l.mu.Lock()
		disabled := l.state == pb.WebhookState_WEBHOOK_STATE_DISABLED
		l.mu.Unlock()
		if !disabled {
			return true
		}
	}
}

// note counts an attempt.
func (l *line) note(err error) {
	l.mu.Lock()
	before := l.state
	switch {
	case err == nil:
		l.delivered++
		l.state, l.reason = pb.WebhookState_WEBHOOK_STATE_DELIVERING, ""
	case errors.Is(err, errGone):
		l.failed++
		l.state, l.reason = pb.WebhookState_WEBHOOK_STATE_DISABLED, err.Error()
	default:
		l.failed++
		l.state, l.reason = pb.WebhookState_WEBHOOK_STATE_RETRYING, err.Error()
	}
	after := l.state
	l.mu.Unlock()
	l.count.attempt(err == nil)
	switch {
	case after == before:
	case after == pb.WebhookState_WEBHOOK_STATE_RETRYING:
		l.deps.Log.Warn().Err(err).Str("target", l.target.Name).Msg("webhook fails")
	case after == pb.WebhookState_WEBHOOK_STATE_DELIVERING:
		l.deps.Log.Info().Str("target", l.target.Name).Msg("webhook works again")
	}
}

// bury keeps a dead letter.
func (l *line) bury(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dead) == DeadMost {
		l.dead = l.dead[1:]
		l.dropped++
	}
	l.dead = append(l.dead, m)
	l.count.died()
	l.deps.Log.Warn().Str("target", l.target.Name).Str("id", m.id).Int("attempts", m.attempts).Str("reason", m.reason).Msg("webhook's event is a dead letter")
}

// resent is the next dead letter that is to be sent again.
func (l *line) resent() (message, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.again) == 0 {
		return message{}, false
	}
	m := l.again[0]
	m.attempts = 0
	return m, true
}

// sentAgain drops the dead letter that resent returned.
func (l *line) sentAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = l.again[1:]
}

// interrupted reports whether dead letters wait to be sent again.
func (l *line) interrupted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.again) > 0
}

// replay has all dead letters sent again, and a disabled target enabled.
func (l *line) replay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.dead)
	l.again, l.dead = append(l.again, l.dead...), nil
	if l.state == pb.WebhookState_WEBHOOK_STATE_DISABLED {
		l.state = pb.WebhookState_WEBHOOK_STATE_RETRYING
	}
	select {
	case l.wake <- struct{}{}:
	default: // it looks anyway
	}
	return n
}
