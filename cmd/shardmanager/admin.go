package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// defaultAdmin is where an allocator listens for operators.
const defaultAdmin = "127.0.0.1:7440"

// Following of the leader: how often a hint is followed, and the pauses while nobody leads.
const (
	maxHops    = 4
	leaderWait = 10 * time.Second
	firstPause = 100 * time.Millisecond
	maxPause   = time.Second
)

// adminClient reaches allocators for operators.
type adminClient struct {
	addresses string
	output
}

func (a *adminClient) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.addresses, "admin", "",
		"host:port of an allocator's admin listener, or several separated by commas (SHARDMANAGER_ADMIN, default "+defaultAdmin+")")
	a.output.flag(c)
}

const adminRemedy = "start one with `shardmanager allocator`, or name another by --admin or SHARDMANAGER_ADMIN"

func (a *adminClient) list() []string {
	var list []string
	for address := range strings.SplitSeq(firstOf(a.addresses, variable("SHARDMANAGER_ADMIN"), defaultAdmin), ",") {
		if address = strings.TrimSpace(address); address != "" {
			list = append(list, address)
		}
	}
	return list
}

// method is a call of AdminService.
type method[Q, A any] func(shardmanagerv1connect.AdminServiceClient, context.Context, *Q) (*A, error)

// anyAllocator asks the allocators in order until one answers.
func anyAllocator[Q, A any](ctx context.Context, a *adminClient, call method[Q, A], request *Q) (*A, error) {
	var failed []error
	for _, address := range a.list() {
		answer, err := ask(ctx, address, call, request)
		if err == nil {
			return answer, nil
		}
		if _, said := wire.DetailOf(err); said {
			return nil, err
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// theLeader asks the leader: it follows hints, and waits a little while nobody leads.
func theLeader[Q, A any](ctx context.Context, a *adminClient, call method[Q, A], request *Q) (*A, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(maxPause),
		backoff.WithMaxElapsedTime(leaderWait))
	return backoff.RetryWithData(func() (*A, error) {
		answer, err := anyAllocator(ctx, a, call, request)
		for range maxHops {
			detail, ok := wire.DetailOf(err)
			if !ok || detail.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER || detail.GetHint() == "" {
				break
			}
			answer, err = ask(ctx, detail.GetHint(), call, request)
		}
		if detail, ok := wire.DetailOf(err); err != nil && (!ok || detail.GetReason() != pb.ErrorReason_ERROR_REASON_NOT_LEADER) {
			return nil, backoff.Permanent(err)
		}
		return answer, err
	}, backoff.WithContext(pause, ctx))
}

// ask makes one call.
func ask[Q, A any](ctx context.Context, address string, call method[Q, A], request *Q) (*A, error) {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--admin: %w", err)}
	}
	defer endpoint.Close()
	ctx, cancel := brief(ctx)
	defer cancel()
	answer, err := call(shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL), ctx, request)
	if err != nil {
		return nil, &answered{who: "allocator " + address, err: err}
	}
	return answer, nil
}

// answered is a failed call and whom it was made to.
type answered struct {
	who string
	err error
}

func (a *answered) Error() string { return explain(a.err, a.who, adminRemedy).Error() }
func (a *answered) Unwrap() error { return a.err }
