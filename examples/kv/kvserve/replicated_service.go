package kvserve

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/examples/kv/kvreplica"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

// Service serves kv.v1.KvService. It has to be wrapped in sdk.Host's Middleware, which checks shard, role, term and lease.
func (a *Replicated) Service() (string, http.Handler) {
	return kvv1connect.NewKvServiceHandler(replicatedService{a}, connect.WithCompression("gzip", nil, nil))
}

type replicatedService struct{ app *Replicated }

// Get reads what is acknowledged, at the primary, or what a secondary has, which then says how far it may be behind.
func (s replicatedService) Get(ctx context.Context, r *kvv1.GetRequest) (*kvv1.GetResponse, error) {
	shard, err := s.admitted(ctx, r.GetKey())
	if err != nil {
		return nil, err
	}
	if shard.Role != sdk.RoleSecondary {
		value, err := s.app.node.Get(shard.ID, shard.Term, r.GetKey())
		if err != nil {
			return nil, replicaError(err)
		}
		return &kvv1.GetResponse{Value: value}, nil
	}
	value, staleness, err := s.app.node.GetStale(shard.ID, r.GetKey())
	if err != nil {
		return nil, replicaError(err)
	}
	sdk.SetStaleness(ctx, staleness)
	return &kvv1.GetResponse{Value: value}, nil
}

// Increment answers when every secondary in sync has the write, or when the caller's time is over: it may then happen yet.
func (s replicatedService) Increment(ctx context.Context, r *kvv1.IncrementRequest) (*kvv1.IncrementResponse, error) {
	id := kvreplica.RequestID{Client: r.GetRequestId().GetClient(), Number: r.GetRequestId().GetNumber()}
	if id.Number == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("increment: request_id.number: expected 1 or more"))
	}
	shard, err := s.admitted(ctx, r.GetKey())
	if err != nil {
		return nil, err
	}
	value, err := s.app.node.Increment(ctx, shard.ID, shard.Term, r.GetKey(), id)
	if err != nil {
		return nil, replicaError(err)
	}
	return &kvv1.IncrementResponse{Value: value}, nil
}

// admitted is the shard that the guard admitted the request to.
func (s replicatedService) admitted(ctx context.Context, key string) (sdk.Shard, error) {
	shard, err := admitted(ctx, key)
	if err == nil {
		s.app.counted(shard.ID)
	}
	return shard, err
}

// admitted is the shard of a request that is in order.
func admitted(ctx context.Context, key string) (sdk.Shard, error) {
	if len(key) == 0 || len(key) > maxKey {
		return sdk.Shard{}, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("key of %d bytes: expected 1 to %d", len(key), maxKey))
	}
	shard, ok := sdk.ShardFromContext(ctx)
	if !ok {
		return sdk.Shard{}, connect.NewError(connect.CodeInternal, errors.New("request without a shard: the service must be behind sdk.Host's Middleware"))
	}
	return shard, nil
}

// replicaError says what a replica's failure means to the caller: whether the request may go to another one.
func replicaError(err error) error {
	switch {
	case errors.Is(err, kvreplica.ErrNotPrimary), errors.Is(err, kvreplica.ErrNotFollowing), errors.Is(err, kvreplica.ErrBusy):
		return withOutcome(connect.CodeUnavailable, sdk.NotExecuted, err)
	case errors.Is(err, kvreplica.ErrDeposed):
		return withOutcome(connect.CodeUnavailable, sdk.Unknown, err)
	case errors.Is(err, kvreplica.ErrSuperseded):
		return connect.NewError(connect.CodeAborted, fmt.Errorf("increment: %w", err))
	case errors.Is(err, kvreplica.ErrFull):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	default: // the guard's reason for ending the operation
		return withOutcome(connect.CodeUnavailable, sdk.Unknown, err)
	}
}

func withOutcome(code connect.Code, outcome sdk.Outcome, err error) error {
	e := connect.NewError(code, err)
	e.Meta().Set(sdk.HeaderOutcome, outcome.String())
	return e
}
