package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// callTimeout bounds one RPC to a process that may be dead or paused.
const callTimeout = 2 * time.Second

// admins are the allocators as operators see them.
type admins struct {
	addresses []string
	clients   []shardmanagerv1connect.AdminServiceClient
	endpoints []transport.Endpoint
}

func newAdmins(addresses []string) (*admins, error) {
	a := &admins{addresses: addresses}
	for _, address := range addresses {
		endpoint, err := transport.Dial(address)
		if err != nil {
			return nil, err
		}
		a.endpoints = append(a.endpoints, endpoint)
		a.clients = append(a.clients, shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL))
	}
	return a, nil
}

func (a *admins) close() {
	for _, e := range a.endpoints {
		e.Close()
	}
}

// leader is the position of the allocator that leads.
func (a *admins) leader(ctx context.Context) (int, error) {
	var failed []error
	for i := range a.clients {
		leads, err := a.leads(ctx, i)
		if err != nil {
			failed = append(failed, err)
		} else if leads {
			return i, nil
		}
	}
	return -1, errors.Join(append([]error{errors.New("no allocator leads")}, failed...)...)
}

// leads asks one allocator whether it leads.
func (a *admins) leads(ctx context.Context, position int) (bool, error) {
	status, err := call(ctx, &pb.GetStatusRequest{}, a.clients[position].GetStatus)
	return status.GetLeading(), err
}

// call makes one RPC that cannot hang.
func call[Req, Res any](ctx context.Context, request *Req, method func(context.Context, *Req) (*Res, error)) (*Res, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return method(ctx, request)
}

// ask calls a method of the leader, whichever allocator that is.
func ask[Req, Res any](ctx context.Context, a *admins, request *Req,
	method func(shardmanagerv1connect.AdminServiceClient, context.Context, *Req) (*Res, error),
) (*Res, error) {
	leader, err := a.leader(ctx)
	if err != nil {
		return nil, err
	}
	return call(ctx, request, func(ctx context.Context, r *Req) (*Res, error) { return method(a.clients[leader], ctx, r) })
}

func (a *admins) createApp(ctx context.Context) error {
	spec := &pb.AppSpec{
		Name: appName, Replication: pb.Replication_REPLICATION_PRIMARY_ONLY,
		KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: appShards}}},
	}
	_, err := ask(ctx, a, &pb.CreateAppRequest{Spec: spec}, shardmanagerv1connect.AdminServiceClient.CreateApp)
	if connect.CodeOf(err) == connect.CodeAlreadyExists {
		return nil // an earlier try whose answer was lost
	}
	return err
}

func (a *admins) servers(ctx context.Context) ([]*pb.ServerStatus, error) {
	response, err := ask(ctx, a, &pb.ListServersRequest{App: appName}, shardmanagerv1connect.AdminServiceClient.ListServers)
	return response.GetServers(), err
}

func (a *admins) openMoves(ctx context.Context) (int, error) {
	status, err := ask(ctx, a, &pb.GetStatusRequest{}, shardmanagerv1connect.AdminServiceClient.GetStatus)
	return int(status.GetOpenMoves()), err
}

func (a *admins) drain(ctx context.Context, server string, undo bool) error {
	_, err := ask(ctx, a, &pb.DrainServerRequest{Server: server, Undo: undo}, shardmanagerv1connect.AdminServiceClient.DrainServer)
	return err
}

// restartAgent asks an agent on its socket for a planned restart (PROTOCOL R19).
func restartAgent(ctx context.Context, socket string) error {
	endpoint, err := transport.Dial("unix://" + socket)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	_, err = shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).Restart(ctx, &pb.RestartRequest{})
	return err
}

// pingAgent asks an agent whether it answers.
func pingAgent(ctx context.Context, address string) error {
	endpoint, err := transport.Dial(address)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	_, err = call(ctx, &pb.AgentServicePingRequest{}, shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).Ping)
	return err
}

// maxAnswer bounds what is read of an answer about health.
const maxAnswer = 4096

// healthy asks a process for its health, as `curl` would.
func healthy(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/grpc.health.v1.Health/Check", bytes.NewReader([]byte("{}")))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	var answer struct{ Status string }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "SERVING" && answer.Status != "SERVING_STATUS_SERVING" {
		return fmt.Errorf("health of %s: %s: %s", address, response.Status, bytes.TrimSpace(body))
	}
	return nil
}

// await tries until a check passes; the error tells what was waited for and what the last try said.
func await(ctx context.Context, within time.Duration, what string, check func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := check(limit)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.Done():
			return fmt.Errorf("waited %v for %s: %w", within, what, err)
		case <-ticker.C:
		}
	}
}

// sleep waits; the error says why it was cut short.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
