package sdk

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shardmanager/shardmanager/internal/holding"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Token stands for one running operation. It has to be returned with End, exactly once; until then the shard cannot leave this server
// in a planned way (PROTOCOL R22). It is safe for concurrent use.
type Token struct {
	host    *Host
	replica *replica
	shard   Shard
	start   shard.Instant
	cancel  context.CancelCauseFunc
	ended   atomic.Bool
	stale   atomic.Int64 // what SetStaleness said, in milliseconds, and one; 0: nothing

	next, prev *Token // ring of the replica's tokens, under its mu
}

type shardKey struct{}

// ShardFromContext returns the shard that an operation runs for, from the context that Begin, Middleware or Interceptor made: its term is
// what the storage has to be told. False outside an operation.
func ShardFromContext(ctx context.Context) (Shard, bool) {
	token, ok := ctx.Value(shardKey{}).(*Token)
	if !ok {
		return Shard{}, false
	}
	return token.shard, true
}

// SetStaleness states, from within a read at a secondary, that what it answers was the primary's state at some time less than d ago: the
// time since the primary was last heard of, for instance. The answer carries it in HeaderStaleness. Elsewhere it does nothing.
func SetStaleness(ctx context.Context, d time.Duration) {
	if token, ok := ctx.Value(shardKey{}).(*Token); ok {
		whole := max(d, 0).Truncate(time.Millisecond)
		token.stale.Store(1 + whole.Milliseconds() + min(int64(max(d, 0)-whole), 1))
	}
}

// stamp says on an answer which replica it comes from, unless that is the primary.
func (t *Token) stamp(header http.Header) {
	if t.shard.Role != RoleSecondary {
		return
	}
	header.Set(HeaderRole, RoleSecondary.String())
	header.Set(HeaderTerm, strconv.FormatUint(t.shard.Term, 10))
	if stale := t.stale.Load(); stale > 0 {
		header.Set(HeaderStaleness, strconv.FormatInt(stale-1, 10))
	}
}

// Begin starts an operation on a shard: background work, or requests of a protocol that Middleware and Interceptor do not know.
//
// It succeeds if this process is primary of the shard and its lease holds. While the shard is being handed over it waits, within the
// limits of WithHoldLimits, the context's deadline and 10 s, unless ctx belongs to an operation on the same shard. Otherwise it
// returns an *Error with NotExecuted; where the shard has moved away its Hint names the new owner.
//
// The context returned carries the shard (ShardFromContext). It is cancelled when the operation has to stop: at the deadline of a
// hand-over, or when the incarnation ends. Call End when the operation is over, and before its answer leaves.
func (h *Host) Begin(ctx context.Context, shardID string) (context.Context, *Token, error) {
	return h.begin(ctx, request{shard: shardID})
}

// BeginRead is Begin for an operation that only reads and that any replica may answer: it succeeds at a secondary too, as the token's
// Shard then says.
func (h *Host) BeginRead(ctx context.Context, shardID string) (context.Context, *Token, error) {
	return h.begin(ctx, request{shard: shardID, anywhere: true})
}

func (h *Host) begin(ctx context.Context, q request) (context.Context, *Token, error) {
	begun := &beginCall{ctx: ctx}
	q.within, _ = ctx.Value(shardKey{}).(*Token)
	h.carry(ctx, q, begun)
	if begun.err != nil {
		return ctx, nil, begun.err
	}
	return begun.ctx, begun.token, nil
}

// beginCall is Begin's way to be carried: it cannot be forwarded.
type beginCall struct {
	ctx   context.Context
	token *Token
	err   error
}

func (c *beginCall) park(*holding.Ticket) *Error       { return nil }
func (c *beginCall) run(ctx context.Context, t *Token) { c.ctx, c.token = ctx, t }
func (c *beginCall) refuse(err *Error)                 { c.err = err }
func (c *beginCall) forward(_ context.Context, to target) bool {
	c.err = &Error{Outcome: NotExecuted, Hint: to.peer.DataAddress, Reason: "the shard has moved to " + string(to.peer.Server)}
	return false
}

// Shard is what the operation runs for.
func (t *Token) Shard() Shard { return t.shard }

// End returns the token. An error means that the answer must not leave: the lease ended, or the incarnation did, while the operation ran,
// and its outcome is unknown to the caller (an *Error with Unknown). Calling End again does nothing and returns nil.
func (t *Token) End() error {
	if t.ended.Swap(true) {
		return nil
	}
	h := t.host
	now := h.now()
	allowed := t.replica.life.allows(now) // a fork in between is not looked for: Begin refuses in the child
	if allowed && h.observer != nil && t.shard.Role == RolePrimary {
		h.observer.Operation(t.shard.ID, t.shard.Term, t.start.Raw, now.Raw)
	}
	t.replica.untoken(t)
	t.cancel(context.Canceled)
	if !allowed {
		return t.lost()
	}
	return nil
}

// check is the same as End's, for answers that leave in parts; the operation goes on.
func (t *Token) check() error {
	if !t.replica.life.allows(t.host.now()) {
		return t.lost()
	}
	return nil
}

// abandon returns the token of an operation whose answer will not leave.
func (t *Token) abandon() {
	if t.ended.Swap(true) {
		return
	}
	t.replica.untoken(t)
	t.cancel(context.Canceled)
}

// keeps reports whether t keeps the shard here for now: it is out, so no hand-over can complete. The caller holds r.mu.
func (t *Token) keeps(r *replica) bool { return t != nil && t.replica == r && !t.ended.Load() }

func (t *Token) lost() *Error {
	return &Error{Outcome: Unknown, Shard: t.shard.ID, Reason: "the lease ended while the operation was running"}
}

// enlist counts a token. The caller holds mu.
func (r *replica) enlist(t *Token) {
	r.running++
	if r.tokens == nil {
		t.next, t.prev, r.tokens = t, t, t
		return
	}
	t.next, t.prev = r.tokens, r.tokens.prev
	t.prev.next, t.next.prev = t, t
}

// untoken takes a token out again and tells who waits for the last one.
func (r *replica) untoken(t *Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	if t.next == t {
		r.tokens = nil
	} else {
		t.prev.next, t.next.prev = t.next, t.prev
		if r.tokens == t {
			r.tokens = t.next
		}
	}
	t.next, t.prev = nil, nil
	if r.running == 0 && r.idle != nil {
		r.idle <- true
		r.idle = nil
	}
}

// cancelTokens cancels the contexts of all running operations.
func (r *replica) cancelTokens(cause error) {
	r.mu.Lock()
	cancels := make([]context.CancelCauseFunc, 0, r.running)
	for t, n := r.tokens, r.running; n > 0; t, n = t.next, n-1 {
		cancels = append(cancels, t.cancel)
	}
	r.mu.Unlock()
	for _, cancel := range cancels {
		cancel(cause)
	}
}
