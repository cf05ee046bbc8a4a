package kvreplica

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
)

// maxMessage is the largest message between servers, in bytes: a full batch or part of long keys stays far below.
const maxMessage = 8 << 20

func newReplicaClient(client *http.Client, address string) kvv1connect.ReplicaServiceClient {
	return kvv1connect.NewReplicaServiceClient(client, "http://"+address, connect.WithAcceptCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxMessage))
}

// Handler serves kv.v1.ReplicaService to the other servers. It is not for clients, and not behind the guard: it checks terms itself.
func (n *Node) Handler() (string, http.Handler) {
	return kvv1connect.NewReplicaServiceHandler(handler{n}, connect.WithCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxMessage))
}

type handler struct{ node *Node }

// meant refuses what is for another life of this server.
func (h handler) meant(incarnation uint64) error {
	if own := h.node.cfg.Incarnation(); own == 0 || own != incarnation {
		return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("for incarnation %016x, this is %016x", incarnation, own))
	}
	return nil
}

// Replicate implements kv.v1.ReplicaService.
func (h handler) Replicate(_ context.Context, q *kvv1.ReplicateRequest) (*kvv1.ReplicateResponse, error) {
	if err := h.meant(q.GetTo()); err != nil {
		return nil, err
	}
	answer := &kvv1.ReplicateResponse{Positions: make([]*kvv1.Position, len(q.GetShards()))}
	for i, s := range q.GetShards() {
		said, ended := h.node.replica(s.GetShard()).take(s.GetTerm(), writesOf(s.GetWrites()))
		h.node.unlink(ended)
		answer.Positions[i] = said.toProto()
	}
	// An instant that is not this process's past would come of an echo that was not: it confirms nothing.
	if heard, now := time.Duration(q.GetHeardNs()), h.node.clock(); heard > 0 && heard <= now {
		for _, c := range q.GetConfirmed() {
			h.node.replica(c.GetShard()).confirmed(position{c.GetTerm(), c.GetSequence()}, heard)
		}
	}
	answer.ClockNs = int64(h.node.clock())
	return answer, nil
}

// confirmed takes a primary's confirmation. It locks.
func (r *replica) confirmed(upTo position, heard time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.role == secondary && upTo.term >= r.promised {
		r.follower.confirm(upTo, heard)
	}
}

// Install implements kv.v1.ReplicaService.
func (h handler) Install(_ context.Context, stream *connect.ClientStream[kvv1.InstallRequest]) (*kvv1.InstallResponse, error) {
	if !stream.Receive() {
		return nil, incomplete(stream)
	}
	first := stream.Msg()
	if err := h.meant(first.GetTo()); err != nil {
		return nil, err
	}
	shard, at, data := first.GetShard(), position{first.GetTerm(), first.GetSequence()}, table{}
	for part := first; ; part = stream.Msg() {
		data.take(part.GetKeys())
		if len(data) > maxKeys {
			return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("shard %s: more than %d keys", shard, maxKeys))
		}
		if part.GetLast() {
			said, ended := h.node.replica(shard).install(at, data)
			h.node.unlink(ended)
			return &kvv1.InstallResponse{Position: said.toProto()}, nil
		}
		if !stream.Receive() {
			return nil, incomplete(stream)
		}
	}
}

func incomplete(stream *connect.ClientStream[kvv1.InstallRequest]) error {
	if err := stream.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeInvalidArgument, errors.New("install: expected a last part"))
}
