package kvstore

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
)

// Handler serves a store as kv.v1.StoreService.
func Handler(s *Store) (string, http.Handler) {
	// Messages are tiny: compressing them would cost more than it saves.
	return kvv1connect.NewStoreServiceHandler(service{s}, connect.WithCompression("gzip", nil, nil))
}

type service struct{ store *Store }

func (s service) RaiseTerm(_ context.Context, r *kvv1.RaiseTermRequest) (*kvv1.RaiseTermResponse, error) {
	if err := s.store.RaiseTerm(r.GetShard(), r.GetTerm()); err != nil {
		return nil, refusal(err)
	}
	return &kvv1.RaiseTermResponse{}, nil
}

func (s service) Scan(_ context.Context, r *kvv1.ScanRequest) (*kvv1.ScanResponse, error) {
	entries, err := s.store.Scan(r.GetShard(), r.GetTerm())
	if err != nil {
		return nil, refusal(err)
	}
	response := &kvv1.ScanResponse{Entries: make([]*kvv1.Entry, 0, len(entries))}
	for key, e := range entries {
		response.Entries = append(response.Entries, &kvv1.Entry{Key: key, Value: e.Value, Version: e.Version})
	}
	return response, nil
}

func (s service) Read(_ context.Context, r *kvv1.ReadRequest) (*kvv1.ReadResponse, error) {
	e, err := s.store.Read(r.GetShard(), r.GetTerm(), r.GetKey())
	if err != nil {
		return nil, refusal(err)
	}
	return &kvv1.ReadResponse{Value: e.Value, Version: e.Version}, nil
}

func (s service) Write(_ context.Context, r *kvv1.WriteRequest) (*kvv1.WriteResponse, error) {
	id := RequestID{Client: r.GetRequestId().GetClient(), Number: r.GetRequestId().GetNumber()}
	outcome, e, err := s.store.Write(r.GetShard(), r.GetTerm(), r.GetKey(), r.GetValue(), r.GetSeen(), id)
	if err != nil {
		return nil, refusal(err)
	}
	response := &kvv1.WriteResponse{Value: e.Value, Version: e.Version}
	switch outcome {
	case Applied:
		response.Result = kvv1.WriteResponse_RESULT_APPLIED
	case Conflict:
		response.Result = kvv1.WriteResponse_RESULT_CONFLICT
	case Superseded:
		response.Result = kvv1.WriteResponse_RESULT_SUPERSEDED
	}
	return response, nil
}

// How the wire tells the refusals apart.
const (
	codeStaleTerm     = connect.CodeFailedPrecondition
	codeTermNotRaised = connect.CodeInvalidArgument
)

func refusal(err error) error {
	switch {
	case errors.Is(err, ErrStaleTerm):
		return connect.NewError(codeStaleTerm, err)
	case errors.Is(err, ErrTermNotRaised):
		return connect.NewError(codeTermNotRaised, err)
	default:
		return connect.NewError(connect.CodeInternal, err)
	}
}
