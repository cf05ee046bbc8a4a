package api

import (
	"context"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"github.com/shardmanager/shardmanager/internal/wire"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// MaxRequestBytes is the largest message that is read: a hello with every shard of a large server.
const MaxRequestBytes = 16 << 20

// DataMux is what agents and routers reach: AllocatorService, ShardMapService, health and reflection.
func DataMux(node Node, attach *Attach, maps shardmanagerv1connect.ShardMapServiceHandler) *http.ServeMux {
	mux := newMux(node, maps, shardmanagerv1connect.AllocatorServiceName, shardmanagerv1connect.ShardMapServiceName)
	mux.Handle(shardmanagerv1connect.NewAllocatorServiceHandler(attach, connect.WithReadMaxBytes(MaxRequestBytes)))
	return mux
}

// AdminMux is what operators reach: AdminService, ShardMapService, health and reflection.
func AdminMux(node Node, admin *Admin, maps shardmanagerv1connect.ShardMapServiceHandler) *http.ServeMux {
	mux := newMux(node, maps, shardmanagerv1connect.AdminServiceName, shardmanagerv1connect.ShardMapServiceName)
	mux.Handle(shardmanagerv1connect.NewAdminServiceHandler(admin, connect.WithReadMaxBytes(MaxRequestBytes), wire.StrictJSON()))
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

// health says SERVING while the store can be used; AllocatorService serves only at the leader.
type health struct {
	node     Node
	services []string
}

var _ grpchealth.Checker = (*health)(nil)

// Check implements grpchealth.Checker.
func (h *health) Check(_ context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	known := req.Service == ""
	for _, s := range h.services {
		known = known || s == req.Service
	}
	if !known {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("health: service: expected one of %q, not %q", h.services, req.Service))
	}
	status := grpchealth.StatusServing
	if h.node.Status().StoreTrouble != "" || (req.Service == shardmanagerv1connect.AllocatorServiceName && h.node.Leader() == nil) {
		status = grpchealth.StatusNotServing
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}
