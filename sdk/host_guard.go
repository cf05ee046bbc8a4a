package sdk

import (
	"context"
	"os"
	"time"

	"github.com/shardmanager/shardmanager/internal/holding"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// request is what the guard needs to know of a request.
type request struct {
	shard string
	// anywhere: it only reads, and any replica may answer it.
	anywhere bool
	// forward is the move under which a source forwarded it here; zero: it came from a router (PROTOCOL R21).
	forward shard.Order
	// patience bounds how long it may be held; 0: maxHold.
	patience time.Duration
	// within is the operation that this one is part of; nil: none.
	within *Token
}

func (q request) forwarded() bool { return q.forward != shard.Order{} }

// target is where requests for a shard are forwarded to.
type target struct {
	peer  shard.Peer
	order shard.Order
	until <-chan struct{} // closed when the shard is served here again
}

// carried is one request, in the form of its protocol.
type carried interface {
	// park makes the request independent of its connection (its body is read) before it waits; the ticket accounts for the memory.
	park(*holding.Ticket) *Error
	// run executes it here. It returns the token.
	run(context.Context, *Token)
	// forward sends it to the target and delivers the answer. True: certainly not executed there, try again.
	forward(context.Context, target) (again bool)
	// refuse answers that it was not executed.
	refuse(*Error)
}

// view is one look at the guard.
type view uint8

const (
	viewRefuse view = iota + 1
	viewRun
	viewWait
	viewForward
)

// sight is what a look saw; which fields are set depends on view.
type sight struct {
	view    view
	err     *Error          // viewRefuse
	changed <-chan struct{} // viewWait and viewForward: closed when another look may see something else
	life    *life           // viewWait and viewForward
	target  target          // viewForward
}

// Limits of what is held or being forwarded at once, over all shards of a Host; what exceeds them is refused as not executed
// (PROTOCOL R32).
const (
	// defaultHoldCount and defaultHoldBytes can be changed by WithHoldLimits.
	defaultHoldCount = 10_000
	defaultHoldBytes = 64 << 20
	// maxHold is the longest that a request is held, if its own deadline is not shorter.
	maxHold = 10 * time.Second
)

// Pauses between two attempts to forward a request that the target refuses or that cannot reach it.
const (
	forwardPauseMin = 2 * time.Millisecond
	forwardPauseMax = 50 * time.Millisecond
)

// carry brings a request to its end: it runs here, is forwarded, or refused; meanwhile it may be held.
func (h *Host) carry(ctx context.Context, q request, c carried) {
	opCtx, token := h.newToken(ctx, q.shard)
	seen := h.look(q, token)
	if seen.view == viewRun { // the hot path
		c.run(opCtx, token)
		return
	}
	if seen.view == viewRefuse {
		token.cancel(context.Canceled)
		c.refuse(seen.err)
		return
	}
	h.carryHeld(ctx, opCtx, q, c, token, seen)
}

// carryHeld goes on with a request that has to wait or to be forwarded.
func (h *Host) carryHeld(ctx, opCtx context.Context, q request, c carried, token *Token, seen sight) {
	held, ok := h.holds.Admit()
	if !ok {
		token.cancel(context.Canceled)
		c.refuse(&Error{Outcome: NotExecuted, Shard: q.shard, Reason: "too many requests are held already (WithHoldLimits)"})
		return
	}
	defer held.Release()
	patience := time.NewTimer(patienceOf(ctx, q))
	defer patience.Stop()
	parked, pause := false, forwardPauseMin
	for {
		switch seen.view {
		case viewRun:
			c.run(opCtx, token)
			return
		case viewRefuse:
			token.cancel(context.Canceled)
			c.refuse(seen.err)
			return
		case viewWait, viewForward:
			if !parked {
				if err := c.park(held); err != nil {
					token.cancel(context.Canceled)
					c.refuse(err)
					return
				}
				parked = true
			}
		}
		wait := h.leaseLeft(seen.life)
		if seen.view == viewForward {
			if again := c.forward(ctx, seen.target); !again {
				token.cancel(context.Canceled)
				return
			}
			wait, pause = pause, min(2*pause, forwardPauseMax)
		}
		if err := awaitChange(ctx, seen, wait, patience.C, q.shard); err != nil {
			token.cancel(context.Canceled)
			c.refuse(err)
			return
		}
		seen = h.look(q, token)
	}
}

// awaitChange waits until another look makes sense: after a change, or after the time given.
func awaitChange(ctx context.Context, seen sight, wait time.Duration, patience <-chan time.Time, shardID string) *Error {
	again := time.NewTimer(wait)
	defer again.Stop()
	select {
	case <-seen.changed:
	case <-seen.life.ctx.Done():
	case <-again.C:
	case <-patience:
		return &Error{Outcome: NotExecuted, Shard: shardID, Reason: "held for as long as allowed while the shard was handed over"}
	case <-ctx.Done():
		return &Error{Outcome: NotExecuted, Shard: shardID, Reason: "the caller gave up while the shard was handed over", Err: context.Cause(ctx)}
	}
	return nil
}

// leaseLeft is how long the lease still runs, at least a millisecond: when to look again whether it was extended.
func (h *Host) leaseLeft(l *life) time.Duration {
	return max(l.leaseEnd().Remaining(h.now()), time.Millisecond)
}

func patienceOf(ctx context.Context, q request) time.Duration {
	patience := maxHold
	if q.patience > 0 {
		patience = min(patience, q.patience)
	}
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline))
	}
	return patience
}

// newToken makes a token that is not counted yet, so that nothing is allocated under the replica's lock.
func (h *Host) newToken(ctx context.Context, shardID string) (context.Context, *Token) {
	token := &Token{host: h, shard: Shard{App: h.app, ID: shardID, Role: RolePrimary}}
	opCtx, cancel := context.WithCancelCause(context.WithValue(ctx, shardKey{}, token))
	token.cancel = cancel
	return opCtx, token
}

// look decides what happens to a request now. If it may run here, the token is counted and filled in.
func (h *Host) look(q request, token *Token) sight {
	if os.Getpid() != h.pid {
		return refused(q, "this process is a fork of the one that holds the lease", "")
	}
	l := h.life.Load()
	if l == nil {
		return refused(q, "this server is not registered", "")
	}
	r := l.find(q.shard)
	if r == nil {
		return refused(q, "the shard is not on this server", "")
	}
	now := h.now()
	allowed := l.allows(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.forwarded() {
		return r.lookForwarded(q, token, now, allowed)
	}
	switch r.gate {
	case gateOpen:
		return r.start(q, token, now, allowed)
	case gateHold:
		if q.within.keeps(r) {
			return r.start(q, token, now, allowed) // waiting for its own end would last for ever
		}
		if !allowed {
			return refused(q, "this server has no lease now", "")
		}
		return sight{view: viewWait, changed: r.waiting(), life: l}
	case gateForward:
		if l.over() {
			return refused(q, "this server's incarnation has ended", r.peer.DataAddress)
		}
		return sight{view: viewForward, changed: r.waiting(), life: l, target: target{peer: r.peer, order: r.record.Under, until: r.resuming()}}
	case gateFollow:
		if !q.anywhere {
			return refused(q, "this server is a secondary of the shard", r.peer.DataAddress)
		}
		token.shard.Role = RoleSecondary
		return r.start(q, token, now, allowed)
	case gateClosed:
	}
	return refused(q, "the shard is not served here", r.hint())
}

// lookForwarded decides about a request that the source of a move sent: it runs under that move, or if this server is primary at the
// move's term or a later one; it is never forwarded again (PROTOCOL R21). The caller holds mu.
func (r *replica) lookForwarded(q request, token *Token, now shard.Instant, allowed bool) sight {
	switch {
	case r.gate == gateOpen && r.record.Term >= q.forward.Term:
		return r.start(q, token, now, allowed)
	case r.record.Phase == shard.Prepared && r.record.Under == q.forward && r.activated == q.forward.Term:
		return r.start(q, token, now, allowed)
	case r.gate == gateHold && allowed && r.record.Term >= q.forward.Term:
		return sight{view: viewWait, changed: r.waiting(), life: r.life}
	}
	return refused(q, "forwarded under a move that does not end here", "")
}

// start counts the token. The caller holds mu.
func (r *replica) start(q request, token *Token, now shard.Instant, allowed bool) sight {
	if !allowed {
		return refused(q, "this server has no lease now", "")
	}
	if now.Raw < r.since.Raw {
		now = r.since // the look began before the right to execute did
	}
	token.replica, token.start, token.shard.Term = r, now, uint64(r.record.Term)
	r.enlist(token)
	return sight{view: viewRun}
}

// hint is where the shard went, as far as this server knows. The caller holds mu.
func (r *replica) hint() string {
	if r.record.Phase == shard.Prepared || r.record.Phase == shard.None {
		return r.peer.DataAddress
	}
	return ""
}

func refused(q request, reason, hint string) sight {
	return sight{view: viewRefuse, err: &Error{Outcome: NotExecuted, Shard: q.shard, Hint: hint, Reason: reason}}
}
