// Package observe is how the cluster is seen and told from outside: as an operator through its admin services, as a client through its
// map, and through what the load generator prints. It changes nothing by itself and keeps no opinion. Called by internal/dev.
package observe

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

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// callTimeout bounds one RPC to a process that may be dead or paused.
const callTimeout = 2 * time.Second

// restartPatience bounds the wait for a planned restart to be granted.
const restartPatience = 2 * time.Minute

// Admins are the allocators as operators see them.
type Admins struct {
	addresses []string
	clients   []shardmanagerv1connect.AdminServiceClient
	endpoints []transport.Endpoint
}

// NewAdmins dials the admin services of all allocators.
func NewAdmins(addresses []string) (*Admins, error) {
	a := &Admins{addresses: addresses}
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

// Close closes the connections.
func (a *Admins) Close() {
	for _, e := range a.endpoints {
		e.Close()
	}
}

// Leader is the position of the allocator that leads.
func (a *Admins) Leader(ctx context.Context) (int, error) {
	var failed []error
	for i := range a.clients {
		leads, err := a.Leads(ctx, i)
		if err != nil {
			failed = append(failed, err)
		} else if leads {
			return i, nil
		}
	}
	return -1, errors.Join(append([]error{errors.New("no allocator leads")}, failed...)...)
}

// Leads asks one allocator whether it leads.
func (a *Admins) Leads(ctx context.Context, position int) (bool, error) {
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
func ask[Req, Res any](ctx context.Context, a *Admins, request *Req,
	method func(shardmanagerv1connect.AdminServiceClient, context.Context, *Req) (*Res, error),
) (*Res, error) {
	leader, err := a.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return call(ctx, request, func(ctx context.Context, r *Req) (*Res, error) { return method(a.clients[leader], ctx, r) })
}

// CreateApp creates the app of the example in a mode, the replicas of a shard in different domains.
func (a *Admins) CreateApp(ctx context.Context, mode string, spread pb.FaultDomain) error {
	spec := &pb.AppSpec{
		Name: layout.App, Replication: pb.Replication_REPLICATION_PRIMARY_ONLY,
		KeySpace: &pb.KeySpace{Kind: &pb.KeySpace_Hash{Hash: &pb.HashKeySpace{Shards: layout.Shards}}},
	}
	if mode == layout.PrimarySecondary {
		spec.Replication, spec.Replicas = pb.Replication_REPLICATION_PRIMARY_SECONDARY, uint32(layout.ReplicasIn(mode))
		spec.Placement = &pb.Placement{Spread: spread}
	}
	_, err := ask(ctx, a, &pb.CreateAppRequest{Spec: spec}, shardmanagerv1connect.AdminServiceClient.CreateApp)
	if connect.CodeOf(err) == connect.CodeAlreadyExists {
		return nil // an earlier try whose answer was lost
	}
	return err
}

// Servers lists the servers of the app as the leader knows them.
func (a *Admins) Servers(ctx context.Context) ([]*pb.ServerStatus, error) {
	response, err := ask(ctx, a, &pb.ListServersRequest{App: layout.App}, shardmanagerv1connect.AdminServiceClient.ListServers)
	return response.GetServers(), err
}

// OpenMoves counts the moves under way.
func (a *Admins) OpenMoves(ctx context.Context) (int, error) {
	status, err := ask(ctx, a, &pb.GetStatusRequest{}, shardmanagerv1connect.AdminServiceClient.GetStatus)
	return int(status.GetOpenMoves()), err
}

// Hold is why the leader holds silent servers instead of fencing them; empty: it does not (PROTOCOL R15).
func (a *Admins) Hold(ctx context.Context) (string, error) {
	status, err := ask(ctx, a, &pb.GetStatusRequest{}, shardmanagerv1connect.AdminServiceClient.GetStatus)
	return status.GetHold(), err
}

// Drain moves every shard away from a server, or takes that back.
func (a *Admins) Drain(ctx context.Context, server string, undo bool) error {
	_, err := ask(ctx, a, &pb.DrainServerRequest{Server: server, Undo: undo}, shardmanagerv1connect.AdminServiceClient.DrainServer)
	return err
}

// AskUpgrade asks to take all servers down, as caps permit.
func (a *Admins) AskUpgrade(ctx context.Context, id string) error {
	request := &pb.MaintenanceRequest{Id: id, Kind: pb.MaintenanceKind_MAINTENANCE_KIND_UPGRADE, Impact: pb.MaintenanceImpact_MAINTENANCE_IMPACT_PROCESS_RESTART,
		DurationMs: time.Minute.Milliseconds(), Scope: &pb.MaintenanceScope{}}
	servers, err := a.Servers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		request.Scope.Servers = append(request.Scope.Servers, s.GetServer().GetId())
	}
	_, err = ask(ctx, a, &pb.RequestMaintenanceRequest{Request: request}, shardmanagerv1connect.AdminServiceClient.RequestMaintenance)
	return err
}

// Ready lists the servers of a planned event that may be taken down now.
func (a *Admins) Ready(ctx context.Context, id string) (servers []string, err error) {
	answer, err := ask(ctx, a, &pb.ListMaintenanceRequest{Id: id}, shardmanagerv1connect.AdminServiceClient.ListMaintenance)
	for _, e := range answer.GetEvents() {
		for _, p := range e.GetPieces() {
			for _, c := range p.GetCovers() {
				if p.GetState() == pb.MaintenancePieceState_MAINTENANCE_PIECE_STATE_READY {
					servers = append(servers, c.GetServer())
				}
			}
		}
	}
	return servers, err
}

// Quarantined lists the shards that are not placed any more because servers died of them.
func (a *Admins) Quarantined(ctx context.Context) ([]string, error) {
	response, err := ask(ctx, a, &pb.ListQuarantinedRequest{App: layout.App}, shardmanagerv1connect.AdminServiceClient.ListQuarantined)
	var list []string
	for _, q := range response.GetShards() {
		list = append(list, q.GetShard())
	}
	return list, err
}

// Release lets a quarantined shard be placed again.
func (a *Admins) Release(ctx context.Context, id string) error {
	_, err := ask(ctx, a, &pb.ReleaseQuarantineRequest{App: layout.App, Shard: id}, shardmanagerv1connect.AdminServiceClient.ReleaseQuarantine)
	return err
}

// RestartAgent asks an agent on its socket for a planned restart (PROTOCOL R19).
func RestartAgent(ctx context.Context, socket string) error {
	endpoint, err := transport.Dial("unix://" + socket)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, restartPatience)
	defer cancel()
	_, err = shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).Restart(ctx, &pb.RestartRequest{})
	return err
}

// replacedPatience is how long a planned restart may take.
const replacedPatience = time.Minute

// Replaced does something and waits until the agent at a socket is another one than before, there to stay.
func Replaced(ctx context.Context, socket string, do func() error) error {
	endpoint, err := transport.Dial("unix://" + socket)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	agent := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL)
	before, err := call(ctx, &pb.StatusRequest{}, agent.Status)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return clock.Await(ctx, replacedPatience, "the agent to be replaced", func(ctx context.Context) error {
		after, err := call(ctx, &pb.StatusRequest{}, agent.Status)
		switch {
		case err != nil:
			return err
		case after.GetRun() == before.GetRun() || after.GetOnTrial():
			return errors.New("it is not yet")
		case after.GetRestartProblem() != "":
			return errors.New(after.GetRestartProblem())
		}
		return nil
	})
}

// PingAgent asks an agent whether it answers.
func PingAgent(ctx context.Context, address string) error {
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

// Healthy asks a process for its health, as `curl` would.
func Healthy(ctx context.Context, address string) error {
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
