package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"github.com/shardmanager/shardmanager/internal/wire"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// MaxRequestBytes is the largest message that is read: a hello with every shard of a large server.
const MaxRequestBytes = 16 << 20

// compressFrom is from how many bytes on an answer to an operator is compressed. Most messages of a stream of events are smaller: to compress them for a
// thousand readers would cost more than all the rest of it.
const compressFrom = 16 << 10

// DataMux is what agents and routers reach: AllocatorService, ShardMapService, health and reflection.
func DataMux(node Node, attach *Attach, maps shardmanagerv1connect.ShardMapServiceHandler) *http.ServeMux {
	mux := newMux(node, maps, shardmanagerv1connect.AllocatorServiceName, shardmanagerv1connect.ShardMapServiceName)
	mux.Handle(shardmanagerv1connect.NewAllocatorServiceHandler(attach, connect.WithReadMaxBytes(MaxRequestBytes)))
	return mux
}

// AdminMux is what operators reach: AdminService, ShardMapService, health and reflection. The allocator adds SnapshotService.
func AdminMux(node Node, admin *Admin, maps shardmanagerv1connect.ShardMapServiceHandler) *http.ServeMux {
	mux := newMux(node, maps, shardmanagerv1connect.AdminServiceName, shardmanagerv1connect.SnapshotServiceName, shardmanagerv1connect.ShardMapServiceName)
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(admin, connect.WithReadMaxBytes(MaxRequestBytes), connect.WithCompressMinBytes(compressFrom), wire.StrictJSON()))
	return mux
}

func newMux(node Node, maps shardmanagerv1connect.ShardMapServiceHandler, services ...string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle(shardmanagerv1connect.NewShardMapServiceHandler(maps, connect.WithReadMaxBytes(MaxRequestBytes)))
	mux.Handle(grpchealth.NewHandler(&health{node: node, services: services}))
	reflector := grpcreflect.NewStaticReflector(append(services, grpchealth.HealthV1ServiceName)...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	return mux
}

// health says of each service whether it can be used here. Maps are served whatever happens, from the newest that there are (static
// stability); everything else needs the store, and where this allocator leads, a loop that answers and a lock that is proven. AllocatorService
// serves at the leader only.
type health struct {
	node     Node
	services []string
}

var _ grpchealth.Checker = (*health)(nil)

// loopPatience is how long a loop that is well may take to answer.
const loopPatience = time.Second

// Check implements grpchealth.Checker.
func (h *health) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && !slices.Contains(h.services, req.Service) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("health: service: expected one of %q, not %q", h.services, req.Service))
	}
	status := grpchealth.StatusNotServing
	if req.Service == shardmanagerv1connect.ShardMapServiceName || Unfit(ctx, h.node, req.Service == shardmanagerv1connect.AllocatorServiceName) == nil {
		status = grpchealth.StatusServing
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}

// Unfit says why an allocator cannot do its work, as a leader, if that is asked for; nil: it can.
func Unfit(ctx context.Context, node Node, leading bool) error {
	if trouble := node.Status().StoreTrouble; trouble != "" {
		return fmt.Errorf("the store cannot be used: %s", trouble)
	}
	view, err := (*View)(nil), ErrNotLeading
	if leader := node.Leader(); leader != nil {
		short, cancel := context.WithTimeout(ctx, loopPatience)
		defer cancel()
		view, err = leader.View(short)
	}
	switch {
	case errors.Is(err, ErrNotLeading) && !leading: // or it stepped down just now
		return nil
	case err == nil && !view.Summary.Leading:
		return errors.New("the lock is not proven to be ours")
	}
	return err
}
