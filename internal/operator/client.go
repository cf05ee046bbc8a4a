// Package operator calls AdminService as an operator's tools do: any allocator for what all of them know, and the leader, by the hints of
// the others, for the rest.
//
// It waits a little while nobody leads, gives every call a deadline, and follows events over changes of leaders. It prints nothing. Called
// by cmd/shardmanager.
package operator

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// CallTime bounds a call that answers at once.
const CallTime = 10 * time.Second

// Following of the leader: how often a hint is followed, and the pauses while nobody leads.
const (
	maxHops    = 4
	leaderWait = 10 * time.Second
	firstPause = 100 * time.Millisecond
	maxPause   = time.Second
)

// Client reaches allocators.
type Client struct {
	Addresses []string      // host:port of admin listeners
	Within    time.Duration // bounds a call; 0: CallTime
	// Failure words a failed call of one allocator, or an *AddressError; nil: as it is.
	Failure func(address string, err error) error
}

// AddressError is an address that cannot be one.
type AddressError struct{ Err error }

func (e *AddressError) Error() string { return e.Err.Error() }
func (e *AddressError) Unwrap() error { return e.Err }

func (c *Client) failure(address string, err error) error {
	if c.Failure == nil {
		return err
	}
	return c.Failure(address, err)
}

// Method is a call of AdminService.
type Method[Q, A any] func(shardmanagerv1connect.AdminServiceClient, context.Context, *Q) (*A, error)

// Any asks the allocators in order until one answers.
func Any[Q, A any](ctx context.Context, c *Client, call Method[Q, A], request *Q) (answer *A, err error) {
	err = c.any(func(address string) error {
		answer, err = ask(ctx, c, address, call, request)
		return err
	})
	return answer, err
}

// any tries the allocators in order until one answers, a refusal included.
func (c *Client) any(try func(address string) error) error {
	var failed []error
	for _, address := range c.Addresses {
		err := try(address)
		if err == nil {
			return nil
		}
		if _, said := wire.DetailOf(err); said {
			return err
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// leader tries the leader: an allocator, and then whom it names. Whoever is named and accepts no connection leads no more: somebody else is about to.
func (c *Client) leader(try func(address string) error) error {
	return c.any(func(address string) error {
		err := try(address)
		for range maxHops {
			detail, ok := wire.DetailOf(err)
			if !ok || detail.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER || detail.GetHint() == "" {
				break
			}
			named := try(detail.GetHint())
			var dial *net.OpError
			if errors.As(named, &dial) && dial.Op == "dial" {
				return errors.Join(err, named)
			}
			err = named
		}
		return err
	})
}

// Leader asks the leader: it follows hints, and waits a little while nobody leads.
func Leader[Q, A any](ctx context.Context, c *Client, call Method[Q, A], request *Q) (answer *A, err error) {
	try := func(address string) error {
		answer, err = ask(ctx, c, address, call, request)
		return err
	}
	err = backoff.Retry(func() error {
		err := c.leader(try)
		if err != nil && !notLeader(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(pauses(leaderWait), ctx))
	return answer, err
}

func notLeader(err error) bool {
	detail, ok := wire.DetailOf(err)
	return ok && detail.GetReason() == pb.ErrorReason_ERROR_REASON_NOT_LEADER
}

// pauses lie between attempts, for so long in all; 0: for ever.
func pauses(within time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(maxPause),
		backoff.WithMaxElapsedTime(within))
}

// ask makes one call.
func ask[Q, A any](ctx context.Context, c *Client, address string, call Method[Q, A], request *Q) (*A, error) {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return nil, c.failure(address, &AddressError{err})
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Within, CallTime))
	defer cancel()
	answer, err := call(shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL), ctx, request)
	if err != nil {
		return nil, c.failure(address, err)
	}
	return answer, nil
}
