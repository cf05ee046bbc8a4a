package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// maxRequestBytes is the largest request: a full transaction and what its encoding adds, JSON included.
const maxRequestBytes = 2 << 20

// NewHandler serves the store to other processes as StoreService; mount it at the path that it returns.
func NewHandler(e *Engine) (path string, handler http.Handler) {
	return shardmanagerv1connect.NewStoreServiceHandler(service{e}, connect.WithReadMaxBytes(maxRequestBytes))
}

type service struct{ engine *Engine }

var _ shardmanagerv1connect.StoreServiceHandler = service{}

func (s service) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	ops := make([]coord.Op, len(r.GetOps()))
	for i, op := range r.GetOps() {
		if op.GetVerb() <= pb.StoreVerb_STORE_VERB_UNSPECIFIED || op.GetVerb() > pb.StoreVerb_STORE_VERB_CHECK_NOT_EXISTS {
			return nil, toWire(fmt.Errorf("operation %d: expected a verb, not %d", i, op.GetVerb()))
		}
		ops[i] = coord.Op{
			Verb: coord.Verb(op.GetVerb()), Key: op.GetKey(), Value: op.GetValue(), Index: coord.Index(op.GetIndex()),
			Session: coord.SessionID(op.GetSession()),
		}
	}
	index, err := s.engine.Txn(ctx, ops)
	var conflict *coord.ConflictError
	if errors.As(err, &conflict) {
		return &pb.TxnResponse{Conflict: true, FailedOp: uint32(conflict.Op), Reason: conflict.Reason}, nil
	}
	if err != nil {
		return nil, toWire(err)
	}
	return &pb.TxnResponse{Index: uint64(index)}, nil
}

func (s service) List(ctx context.Context, r *pb.ListRequest) (*pb.ListResponse, error) {
	entries, index, err := s.engine.list(ctx, r.GetPrefix())
	if err != nil {
		return nil, toWire(err)
	}
	return &pb.ListResponse{Entries: entriesToProto(entries), Index: uint64(index)}, nil
}

func (s service) CreateSession(ctx context.Context, r *pb.CreateSessionRequest) (*pb.CreateSessionResponse, error) {
	if r.GetTtlMs() > maxTTL.Milliseconds() {
		return nil, toWire(fmt.Errorf("create session: ttl: expected at most %s, not %d ms", maxTTL, r.GetTtlMs()))
	}
	id, err := s.engine.CreateSession(ctx, specFromProto(r))
	if err != nil {
		return nil, toWire(err)
	}
	return &pb.CreateSessionResponse{Session: string(id)}, nil
}

func (s service) RenewSession(ctx context.Context, r *pb.RenewSessionRequest) (*pb.RenewSessionResponse, error) {
	found, err := s.engine.RenewSession(ctx, coord.SessionID(r.GetSession()))
	if err != nil {
		return nil, toWire(err)
	}
	return &pb.RenewSessionResponse{Found: found}, nil
}

func (s service) DestroySession(ctx context.Context, r *pb.DestroySessionRequest) (*pb.DestroySessionResponse, error) {
	if err := s.engine.DestroySession(ctx, coord.SessionID(r.GetSession())); err != nil {
		return nil, toWire(err)
	}
	return &pb.DestroySessionResponse{}, nil
}

func (s service) Watch(ctx context.Context, r *pb.StoreServiceWatchRequest, stream *connect.ServerStream[pb.StoreServiceWatchResponse]) error {
	err := s.engine.watch(ctx, r.GetPrefix(), func(entries []coord.Entry, index coord.Index) error {
		return stream.Send(&pb.StoreServiceWatchResponse{Entries: entriesToProto(entries), Index: uint64(index)})
	})
	return toWire(err)
}

func entriesToProto(entries []coord.Entry) []*pb.StoreEntry {
	out := make([]*pb.StoreEntry, len(entries))
	for i, e := range entries {
		out[i] = entryToProto(e)
	}
	return out
}

// toWire gives each sentinel of coord its code; fromWire of the client is the reverse. Whatever is none of them is a bad request.
func toWire(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, coord.ErrUnknown):
		return wire.Error(connect.CodeUnknown, pb.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, "store", err.Error(), "")
	case errors.Is(err, coord.ErrFull):
		return wire.Error(connect.CodeResourceExhausted, pb.ErrorReason_ERROR_REASON_STORE, "store", err.Error(), "")
	case errors.Is(err, coord.ErrTooLarge):
		return wire.Error(connect.CodeOutOfRange, pb.ErrorReason_ERROR_REASON_INVALID, "store", err.Error(), "")
	case errors.Is(err, coord.ErrUnavailable):
		return wire.Error(connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_STORE, "store", err.Error(), "")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeCanceled, err)
	}
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "store", err.Error(), "")
}
