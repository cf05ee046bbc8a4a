package embedded

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	// maxTTL is Consul's; a longer one is refused.
	maxTTL = 24 * time.Hour
	// maxSessionName bounds what is for people only.
	maxSessionName = 256
	// maxNap is how long the timer loop sleeps at most, and so how soon it notices that the store itself was stopped.
	maxNap = time.Second
	// maxLate is how late the timer loop may wake before it takes the store for having been stopped.
	maxLate = time.Second
	// retryExpiry is how soon the removal of an ended session is tried again after the backend refused it.
	retryExpiry = time.Second
)

// CreateSession begins a session; it ends 2 × TTL after its last renewal.
func (e *Engine) CreateSession(ctx context.Context, spec coord.SessionSpec) (coord.SessionID, error) {
	if err := checkSpec(spec); err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	if err := e.takeTurn(ctx); err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	defer e.giveTurn()
	if len(e.state.sessions) >= MaxSessions {
		return "", fmt.Errorf("create session: %w: %d sessions exist already", coord.ErrFull, MaxSessions)
	}
	id := coord.SessionID(rand.Text())
	c := newChange()
	created := &session{spec: spec}
	created.ends = e.deps.Now().Add(created.grace())
	c.sessions[id] = created
	if err := e.commit(c); err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	select {
	case e.newSession <- struct{}{}:
	default: // the loop has been told already
	}
	return id, nil
}

func checkSpec(spec coord.SessionSpec) error {
	switch {
	case spec.TTL < time.Millisecond || spec.TTL > maxTTL || spec.TTL%time.Millisecond != 0:
		return fmt.Errorf("ttl: expected whole milliseconds from 1ms to %s, not %s", maxTTL, spec.TTL)
	case spec.Behavior != coord.Release && spec.Behavior != coord.DeleteKeys:
		return fmt.Errorf("behavior: expected release or delete, not %d", spec.Behavior)
	case len(spec.Name) > maxSessionName:
		return fmt.Errorf("%w: name of %d bytes: at most %d are possible", coord.ErrTooLarge, len(spec.Name), maxSessionName)
	}
	return nil
}

// RenewSession restarts a session's timer. It does not wait for the disk.
func (e *Engine) RenewSession(ctx context.Context, id coord.SessionID) (bool, error) {
	if err := e.readable(ctx); err != nil {
		return false, fmt.Errorf("renew session %s: %w", id, err)
	}
	now := e.deps.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	found, ok := e.state.sessions[id]
	if !ok || found.over {
		return false, nil
	}
	found.ends = now.Add(found.grace())
	return true, nil
}

// DestroySession ends a session at once.
func (e *Engine) DestroySession(ctx context.Context, id coord.SessionID) error {
	if err := e.takeTurn(ctx); err != nil {
		return fmt.Errorf("destroy session %s: %w", id, err)
	}
	defer e.giveTurn()
	s := staged{state: e.state, change: newChange()}
	s.end(id)
	if s.change.empty() {
		return nil
	}
	if err := e.commit(s.change); err != nil {
		return fmt.Errorf("destroy session %s: %w", id, err)
	}
	return nil
}

// restartTimers gives every session its full time again: the store was down, or stopped, and nobody could renew.
func (e *Engine) restartTimers() {
	now := e.deps.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.state.sessions {
		s.ends = now.Add(s.grace())
	}
}

// expireLoop ends sessions that were not renewed in time. It measures from one look to the next, whatever it was woken by: a stop of the
// process is noticed wherever it happened.
func (e *Engine) expireLoop() {
	looked := e.deps.Now()
	for {
		nap := e.nap()
		fired, stop := e.deps.After(nap)
		select {
		case <-fired:
		case <-e.newSession:
			stop()
		case <-e.closing.Done():
			stop()
			return
		}
		now := e.deps.Now()
		late := looked.WaitAge(now) > nap+maxLate
		looked = now
		if late {
			e.restartTimers()
			continue
		}
		e.expire(now)
	}
}

// nap is the time until the next session may end, within maxNap.
func (e *Engine) nap() time.Duration {
	now := e.deps.Now()
	e.mu.RLock()
	defer e.mu.RUnlock()
	nap := maxNap
	for _, s := range e.state.sessions {
		if s.over {
			nap = min(nap, retryExpiry)
			continue
		}
		// A deadline passes on both clocks, so the slower one counts.
		nap = min(nap, max(time.Duration(max(s.ends.Boot-now.Boot, s.ends.Raw-now.Raw)), time.Millisecond))
	}
	return nap
}

// expire ends every session whose time was over at an instant, in one change. A refusal by the backend stays in Health and is tried again.
func (e *Engine) expire(now shard.Instant) {
	if err := e.takeTurn(e.closing); err != nil {
		return
	}
	defer e.giveTurn()
	s := staged{state: e.state, change: newChange()}
	e.mu.Lock()
	for id, found := range e.state.sessions {
		if found.over || found.ends.Passed(now) {
			found.over = true // from here on it cannot be renewed, whatever the backend says
			s.end(id)
		}
	}
	e.mu.Unlock()
	if s.change.empty() {
		return
	}
	_ = e.commit(s.change) // commit keeps the cause for Health; the next round tries again
}
