package kvserve

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/examples/kv/kvstore"
	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
	"github.com/shardmanager/shardmanager/sdk"
)

const (
	// maxConflicts bounds how often an increment is tried: each conflict means that another one of the key went through.
	maxConflicts = 16
	// maxKey is the longest key, in bytes.
	maxKey = 256
)

// Service serves kv.v1.KvService. It has to be wrapped in sdk.Host's Middleware, which checks shard, term and lease.
func (a *App) Service() (string, http.Handler) {
	// Messages are tiny: compressing them would cost more than it saves.
	return kvv1connect.NewKvServiceHandler(service{a}, connect.WithCompression("gzip", nil, nil))
}

type service struct{ app *App }

// Get reads from the store, at the term under which the request was admitted.
func (s service) Get(ctx context.Context, r *kvv1.GetRequest) (*kvv1.GetResponse, error) {
	shard, held, err := s.admitted(ctx, r.GetKey())
	if err != nil {
		return nil, err
	}
	e, err := s.app.store.Read(ctx, shard.ID, shard.Term, r.GetKey())
	if err != nil {
		return nil, storeError(err)
	}
	s.app.cache.count(ctx, held.cached(r.GetKey()) == e)
	held.remember(r.GetKey(), e)
	return &kvv1.GetResponse{Value: e.Value}, nil
}

// Increment writes what the cache says plus one; the store refuses if the cache is outdated and says what it has.
func (s service) Increment(ctx context.Context, r *kvv1.IncrementRequest) (*kvv1.IncrementResponse, error) {
	id := kvstore.RequestID{Client: r.GetRequestId().GetClient(), Number: r.GetRequestId().GetNumber()}
	if id.Number == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("increment: request_id.number: expected 1 or more"))
	}
	shard, held, err := s.admitted(ctx, r.GetKey())
	if err != nil {
		return nil, err
	}
	seen := held.cached(r.GetKey())
	for try := range maxConflicts {
		outcome, e, err := s.app.store.Write(ctx, shard.ID, shard.Term, r.GetKey(), seen.Value+1, seen.Version, id)
		if err != nil {
			return nil, storeError(err)
		}
		if try == 0 {
			s.app.cache.count(ctx, outcome != kvstore.Conflict)
		}
		held.remember(r.GetKey(), e)
		switch outcome {
		case kvstore.Applied:
			return &kvv1.IncrementResponse{Value: e.Value}, nil
		case kvstore.Superseded:
			return nil, connect.NewError(connect.CodeAborted, fmt.Errorf("increment: request %d of client %x: a later one was applied", id.Number, id.Client))
		case kvstore.Conflict:
			seen = e
		}
	}
	return nil, connect.NewError(connect.CodeAborted, fmt.Errorf("increment: key %q: %d conflicts: try again", r.GetKey(), maxConflicts))
}

// admitted is the shard that the guard admitted the request to.
func (s service) admitted(ctx context.Context, key string) (sdk.Shard, *heldShard, error) {
	shard, err := admitted(ctx, key)
	if err != nil {
		return sdk.Shard{}, nil, err
	}
	held, err := s.app.find(shard)
	if err != nil {
		return sdk.Shard{}, nil, connect.NewError(connect.CodeInternal, err)
	}
	held.requests.Add(1)
	return shard, held, nil
}

// storeError says what the store's failure means to the caller. A stale term means that this server was fenced: it will hear so soon.
func storeError(err error) error {
	switch {
	case errors.Is(err, kvstore.ErrStaleTerm), errors.Is(err, kvstore.ErrTermNotRaised):
		return connect.NewError(connect.CodeAborted, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	default:
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("store: %w", err))
	}
}
