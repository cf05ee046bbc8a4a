// Package pacing says how long an agent waits before it asks for a leader again.
//
// A new leader is found soon, whatever happened to the last; a leader that does not take what the agent says is asked ever less often, because it
// will say the same again. Package agent uses one Pacing for each incarnation that it attaches. It waits for nothing itself.
package pacing

import (
	"errors"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Pauses between two rounds over all allocators. They begin at Shortest, double, and vary by half.
const (
	Shortest = 20 * time.Millisecond
	Longest  = 300 * time.Millisecond // while nobody leads, or streams break
	Refused  = 5 * time.Second        // longest after a refusal, and each after one that only a person can lift
	steady   = 10 * time.Second       // a stream that lasted this long worked: pauses begin anew
)

// Turn is what came of one round.
type Turn struct {
	Lasted  time.Duration // of the stream that was welcomed; 0: none was
	Refused bool          // a leader did not take what it was told
	Stuck   bool          // and only a person can change that
}

// Pacing is what was in vain so far. It is for one goroutine.
type Pacing struct{ search, refused *backoff.ExponentialBackOff }

// New begins.
func New() Pacing {
	upTo := func(most time.Duration) *backoff.ExponentialBackOff {
		return backoff.NewExponentialBackOff(backoff.WithInitialInterval(Shortest), backoff.WithMultiplier(2), backoff.WithMaxInterval(most),
			backoff.WithMaxElapsedTime(0))
	}
	return Pacing{search: upTo(Longest), refused: upTo(Refused)}
}

// After is the pause after a turn.
func (p Pacing) After(t Turn) time.Duration {
	if t.Lasted >= steady {
		p.search.Reset()
		p.refused.Reset()
	}
	switch {
	case t.Stuck:
		return Refused
	case t.Refused:
		return p.refused.NextBackOff()
	default:
		return p.search.NextBackOff()
	}
}

// IsRefusal reports whether a leader said that it does not take what it was told, and will not take it on another stream either. A connection
// that broke, a leader that stepped down or cannot reach its store, or one that closed an older stream is none.
func IsRefusal(err error) bool {
	if detail, ok := wire.DetailOf(err); ok && detail.GetReason() == pb.ErrorReason_ERROR_REASON_NOT_LEADER {
		return false
	}
	said, ok := errors.AsType[*connect.Error](err)
	if !ok || !connect.IsWireError(said) {
		return false
	}
	switch said.Code() {
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeAlreadyExists, connect.CodeResourceExhausted, connect.CodeOutOfRange,
		connect.CodeUnimplemented, connect.CodePermissionDenied, connect.CodeUnauthenticated, connect.CodeInternal:
		return true
	case connect.CodeCanceled, connect.CodeUnknown, connect.CodeDeadlineExceeded, connect.CodeNotFound, connect.CodeAborted,
		connect.CodeUnavailable, connect.CodeDataLoss:
	}
	return false
}
