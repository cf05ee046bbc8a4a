package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Pauses between attempts: the first is hardly one, because most refusals come from a hand-over that is over in an instant.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

// attempted is what came of one attempt.
type attempted struct {
	err     error   // nil: answered; the answer may be a refusal all the same
	outcome Outcome // of a refusal or failure; 0: the answer or error is the application's, and final
	hint    string  // who serves the shard instead, host:port; empty: not said
	refused bool    // the outcome is what the server itself said
}

// routed is one request's way through its attempts. One goroutine uses it, but for what the timer of an attempt reads.
type routed struct {
	router     *Router
	key        string
	repeatable bool
	anyReplica bool
	pause      *backoff.ExponentialBackOff

	attempts int
	tried    []string      // addresses asked in this round, of a request that any replica may answer
	pointed  string        // where the last refusal in this round that named a place pointed
	last     Route         // as the map had it
	asked    string        // address of the last attempt
	result   attempted     // of the last attempt
	unknown  bool          // some attempt may have been executed
	paid     bool          // the retry budget has granted the next attempt
	starved  bool          // it had to wait for the retry budget
	detoured bool          // the last attempt went where a refusal pointed, not where the map does
	absence  *time.Timer   // runs while the map has no shard of the key's name
	patience time.Duration // time for the next attempt: doubled after each that was too short, for servers that need longer
}

func (r *Router) newRouted(ctx context.Context, key string, idempotent bool) *routed {
	anyReplica := nearestFrom(ctx)
	r.budget.Request(time.Since(r.began))
	return &routed{router: r, key: key, repeatable: idempotent || anyReplica || repeatable(ctx), anyReplica: anyReplica, patience: r.cfg.attempt}
}

// next returns where to send the next attempt: at once for the first, to the place that a refusal named, or where the map says after a
// pause that any change for the shard cuts short. While the shard has no primary it waits for one, and a moment for a shard that is not
// there. Its error is an *Error that says what was tried.
func (c *routed) next(ctx context.Context) (Route, error) {
	route, err := c.choose(ctx)
	c.paid = false
	return route, err
}

func (c *routed) choose(ctx context.Context) (Route, error) {
	if err := ctx.Err(); err != nil {
		return Route{}, c.giveUp(ctx, err)
	}
	if c.anyReplica {
		return c.nextNearest(ctx)
	}
	if c.attempts == 0 {
		if route, ok := c.router.LookupString(c.key); ok {
			return route, nil
		}
	} else if c.affords() {
		if route, ok := c.detour(); ok {
			return route, nil
		}
	}
	timer := time.NewTimer(c.nextPause())
	defer timer.Stop()
	for paused := c.attempts > 0; ; {
		v := c.router.view.Load()
		if v.m != nil {
			route, ok := v.routeTo(c.key)
			moved := ok && !route.same(c.last)
			if moved && c.attempts > 0 { // somebody else, who has refused nothing yet
				c.pause.Reset()
				c.patience = c.router.cfg.attempt
			}
			if moved || (ok && !paused && c.affords()) {
				return route, nil
			}
			if ok && !paused {
				paused = true
				timer.Reset(c.nextPause())
			}
		}
		select {
		case <-ctx.Done():
			return Route{}, c.giveUp(ctx, ctx.Err())
		case <-c.absent(v):
			return Route{}, c.giveUp(ctx, ErrNoShard)
		case <-v.changed:
		case <-timer.C:
			paused = false
		}
	}
}

// affords reports whether the same owner may be asked again: always if it refused before it started, and else as the retry budget says.
func (c *routed) affords() bool {
	if c.paid || c.result.outcome != Unknown {
		return true
	}
	c.paid = c.router.repeats()
	c.starved = c.starved || !c.paid
	return c.paid
}

// elsewhere reports whether the map names another owner than the one that was asked.
func (c *routed) elsewhere(asked Route) bool {
	route, ok := c.router.LookupString(c.key)
	return ok && !c.anyReplica && !route.same(asked)
}

// repeats takes one repetition from the retry budget, if there is one left.
func (r *Router) repeats() bool { return r.budget.Retry(time.Since(r.began)) }

// detour is the way that the last refusal showed, if the map does not know better by now. It is gone only once between two attempts at the
// map's place, so that two servers cannot send us to and fro.
func (c *routed) detour() (Route, bool) {
	hint := c.result.hint
	if hint == "" || hint == c.asked || c.detoured {
		return Route{}, false
	}
	route, ok := c.router.LookupString(c.key)
	if !ok || !route.same(c.last) {
		return Route{}, false
	}
	route.address, route.hinted = hint, true
	return route, true
}

func (c *routed) nextPause() time.Duration {
	if c.pause == nil {
		c.pause = backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(longestPause),
			backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
	}
	return c.pause.NextBackOff()
}

// again notes what came of an attempt and reports whether there may be another (PROTOCOL R20).
func (c *routed) again(route Route, res attempted) bool {
	c.attempts++
	c.asked, c.result = route.address, res
	if c.detoured = route.hinted; !c.detoured {
		c.last = route
	}
	if c.anyReplica {
		c.learn(route, res)
	}
	if errors.Is(res.err, errAttemptTimeout) {
		c.patience *= 2
	}
	switch res.outcome {
	case NotExecuted:
		return true
	case Unknown:
		c.unknown = true
		return c.repeatable
	}
	return false
}

// giveUp is the error of a request that ran out of time or may not be repeated.
func (c *routed) giveUp(ctx context.Context, cause error) *Error {
	e := &Error{Outcome: NotExecuted, Hint: c.result.hint, Err: cause}
	if c.unknown {
		e.Outcome = Unknown
	}
	v := c.router.view.Load()
	switch {
	case c.attempts > 0:
		e.Shard = c.last.Shard()
		e.Reason = fmt.Sprintf("gave up: %d attempts, the last at %s (the map names %s)", c.attempts, c.asked, c.last.Server())
		if c.starved {
			e.Reason += "; more would have exceeded the retry budget"
		}
		if c.result.err != nil && !errors.Is(c.result.err, cause) {
			e.Err = fmt.Errorf("%w; last: %w", cause, c.result.err)
		}
	case v.m == nil:
		e.Reason = "there is no shard map yet: is Run running, and does an agent or allocator answer?"
		if trouble := c.router.lastTrouble(); trouble != nil {
			e.Err = fmt.Errorf("%w; last: %w", cause, trouble)
		}
	default:
		if at, ok := v.m.OfString(c.key); ok {
			e.Shard = string(v.m.ID(at))
			e.Reason = "no server has the shard in map version " + v.m.Version.String()
		}
	}
	if v.lacks(c.key) {
		e.missing(v, c.key, cause)
	}
	if v, ok := ctx.Value(contextFinal).(*finalError); ok {
		v.err.Store(e)
	}
	return e
}

// Do calls fn with the route of a key until it succeeds, within ctx's deadline (DefaultDeadline if it has none): for protocols other than
// HTTP. An error of fn that says `not executed` (see OutcomeOf), or that no connection could be made, is retried; one that says `unknown`,
// or that a connection broke, only if ctx is marked by WithIdempotent or WithRequestID. Any other error is the application's and is
// returned as it is. An *Error that Do gives up with says what was tried; its cause is ErrNoShard if a named key space has no shard of that
// name, which is waited for a moment only.
func (r *Router) Do(ctx context.Context, key string, fn func(ctx context.Context, route Route) error) error {
	limited, cancel := limit(ctx)
	defer cancel()
	c := r.newRouted(ctx, key, false)
	for {
		route, err := c.next(limited)
		if err != nil {
			return err
		}
		if err = fn(ctx, route); err == nil {
			return nil
		}
		outcome, hint := outcomeOfCall(err)
		_, refused := OutcomeOf(err)
		if !c.again(route, attempted{err: err, outcome: outcome, hint: hint, refused: refused}) {
			return err
		}
	}
}

// limit gives a context without a deadline the default one, for the time between attempts.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultDeadline)
}

// outcomeOfCall tells what an error of any protocol says about the operation; 0 if it is the application's.
func outcomeOfCall(err error) (Outcome, string) {
	hint, _ := HintOf(err)
	if outcome, ok := OutcomeOf(err); ok {
		return outcome, hint
	}
	if notConnected(err) {
		return NotExecuted, hint
	}
	if _, ok := errors.AsType[net.Error](err); ok || broken(err) {
		return Unknown, hint
	}
	return 0, hint
}

// notConnected reports whether an error says that no connection was made, so that nothing was sent.
func notConnected(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// broken reports whether an error says that a connection ended before the answer was complete.
func broken(err error) bool {
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
