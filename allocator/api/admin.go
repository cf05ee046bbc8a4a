package api

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/webhook"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/suggest"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Maps is where the newest map of each app is.
type Maps interface {
	Map(app shard.App) (*shard.Map, bool)
	Apps() []shard.App
}

// Admin serves AdminService.
type Admin struct {
	node   Node
	maps   Maps
	usages Usages
	events *feed.Feed
	places Places
	gossip Gossip // nil: takes no part

	policies *resolve.Resolver
	webhooks *webhook.Sender

	explaining chan struct{} // capacity 1: an explanation costs as much as a plan
	simulating chan struct{} // capacity 1: a simulation costs as much as many
	rotating   chan struct{} // capacity 1: two rotations at once would undo each other
}

var _ shardmanagerv1connect.AdminServiceHandler = (*Admin)(nil)

// NewAdmin makes the service of an allocator; news are those that it writes while it leads. Without gossip it takes no part in it.
func NewAdmin(node Node, maps Maps, usages Usages, news *feed.Feed, places Places, gossip Gossip, policies *resolve.Resolver, webhooks *webhook.Sender) *Admin {
	return &Admin{
		node: node, maps: maps, usages: usages, events: news, places: places, gossip: gossip, policies: policies, webhooks: webhooks,
		explaining: make(chan struct{}, 1), simulating: make(chan struct{}, 1), rotating: make(chan struct{}, 1),
	}
}

// ask hands a wish to the leader's ledger.
func (a *Admin) ask(ctx context.Context, wish wish.Wish) (ledger.Reply, error) {
	leader := a.node.Leader()
	if leader == nil {
		return ledger.Reply{}, a.notLeader()
	}
	reply, err := leader.Ask(ctx, wish)
	if err != nil {
		return ledger.Reply{}, interrupted(err, a.node.Status())
	}
	if reply.Err != nil {
		return ledger.Reply{}, answerTo(reply.Err)
	}
	return reply, nil
}

func (a *Admin) view(ctx context.Context) (*View, error) {
	leader := a.node.Leader()
	if leader == nil {
		return nil, a.notLeader()
	}
	view, err := leader.View(ctx)
	if err != nil {
		return nil, a.lost(err)
	}
	return view, nil
}

func (a *Admin) notLeader() error {
	status := a.node.Status()
	return notLeader(status, status.LeaderAdmin)
}

// CreateApp implements AdminServiceHandler.
func (a *Admin) CreateApp(ctx context.Context, req *pb.CreateAppRequest) (*pb.CreateAppResponse, error) {
	spec, err := appspec.FromProto(req.GetSpec())
	if err != nil {
		return nil, invalid(err)
	}
	if err := a.admit(ctx, req.GetSpec()); err != nil {
		return nil, err
	}
	reply, err := a.ask(ctx, wish.CreateApp{Spec: spec})
	if err != nil {
		return nil, err
	}
	return &pb.CreateAppResponse{Spec: appspec.ToProto(reply.Spec)}, nil
}

// UpdateApp implements AdminServiceHandler.
func (a *Admin) UpdateApp(ctx context.Context, req *pb.UpdateAppRequest) (*pb.UpdateAppResponse, error) {
	spec, err := appspec.FromProto(req.GetSpec())
	if err != nil {
		return nil, invalid(err)
	}
	if err := a.admit(ctx, req.GetSpec()); err != nil {
		return nil, err
	}
	reply, err := a.ask(ctx, wish.UpdateApp{Spec: spec})
	if err != nil {
		return nil, err
	}
	return &pb.UpdateAppResponse{Spec: appspec.ToProto(reply.Spec)}, nil
}

// GetApp implements AdminServiceHandler.
func (a *Admin) GetApp(ctx context.Context, req *pb.GetAppRequest) (*pb.GetAppResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	for _, spec := range view.Specs {
		if string(spec.Name) == req.GetName() {
			return &pb.GetAppResponse{Spec: appspec.ToProto(spec)}, nil
		}
	}
	return nil, a.noSuchApp("name", req.GetName())
}

// ListApps implements AdminServiceHandler.
func (a *Admin) ListApps(ctx context.Context, _ *pb.ListAppsRequest) (*pb.ListAppsResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	out := new(pb.ListAppsResponse)
	for _, spec := range view.Specs {
		out.Specs = append(out.Specs, appspec.ToProto(spec))
	}
	return out, nil
}

// DeleteApp implements AdminServiceHandler.
func (a *Admin) DeleteApp(ctx context.Context, req *pb.DeleteAppRequest) (*pb.DeleteAppResponse, error) {
	if _, err := a.ask(ctx, wish.DeleteApp{Name: shard.App(req.GetName()), ResourceVersion: req.GetResourceVersion()}); err != nil {
		return nil, err
	}
	return new(pb.DeleteAppResponse), nil
}

// GetShardMap implements AdminServiceHandler. Followers answer it too, with the newest map they have.
func (a *Admin) GetShardMap(_ context.Context, req *pb.AdminServiceGetShardMapRequest) (*pb.AdminServiceGetShardMapResponse, error) {
	m, ok := a.maps.Map(shard.App(req.GetApp()))
	if !ok {
		return nil, a.noSuchApp("app", req.GetApp())
	}
	return &pb.AdminServiceGetShardMapResponse{Snapshot: wire.SnapshotToProto(m)}, nil
}

// ListServers implements AdminServiceHandler.
func (a *Admin) ListServers(ctx context.Context, req *pb.ListServersRequest) (*pb.ListServersResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	out, standing := new(pb.ListServersResponse), a.standing()
	for _, s := range view.Servers {
		if req.GetApp() == "" || string(s.Server.App) == req.GetApp() {
			status := serverToProto(s)
			status.Gossip = standing[s.Server.Agent]
			status.AgentVersion = a.usages.AgentVersion(s.Server.ID, s.Server.Incarnation)
			if usage, age, ok := a.usages.Usage(s.Server.ID, s.Server.Incarnation); ok {
				status.Usage, status.UsageAgeMs = wire.UsageToProto(usage), age.Milliseconds()
			}
			out.Servers = append(out.Servers, status)
		}
	}
	return out, nil
}

// ListMoves implements AdminServiceHandler.
func (a *Admin) ListMoves(ctx context.Context, req *pb.ListMovesRequest) (*pb.ListMovesResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.ListMovesResponse{
		Open: movesToProto(view.Moves.Open, req.GetApp()), Finished: movesToProto(view.Moves.Finished, req.GetApp()),
		FinishedCount: view.Moves.FinishedCount,
	}, nil
}

// DrainServer implements AdminServiceHandler.
func (a *Admin) DrainServer(ctx context.Context, req *pb.DrainServerRequest) (*pb.DrainServerResponse, error) {
	reply, err := a.ask(ctx, wish.DrainServer{Server: shard.ServerID(req.GetServer()), Undo: req.GetUndo()})
	if err != nil {
		return nil, err
	}
	return &pb.DrainServerResponse{Remaining: count(reply.Remaining)}, nil
}

// ReleaseHold implements AdminServiceHandler.
func (a *Admin) ReleaseHold(ctx context.Context, _ *pb.ReleaseHoldRequest) (*pb.ReleaseHoldResponse, error) {
	reply, err := a.ask(ctx, wish.ReleaseHold{})
	if err != nil {
		return nil, err
	}
	return &pb.ReleaseHoldResponse{Servers: count(reply.Remaining)}, nil
}

// ListQuarantined implements AdminServiceHandler.
func (a *Admin) ListQuarantined(ctx context.Context, req *pb.ListQuarantinedRequest) (*pb.ListQuarantinedResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	out := new(pb.ListQuarantinedResponse)
	for _, q := range view.Summary.Quarantined {
		if req.GetApp() == "" || req.GetApp() == string(q.App) {
			out.Shards = append(out.Shards, &pb.QuarantinedShard{App: string(q.App), Shard: string(q.Shard), Reason: q.Why})
		}
	}
	return out, nil
}

// ReleaseQuarantine implements AdminServiceHandler.
func (a *Admin) ReleaseQuarantine(ctx context.Context, req *pb.ReleaseQuarantineRequest) (*pb.ReleaseQuarantineResponse, error) {
	if _, err := a.ask(ctx, wish.ReleaseQuarantine{App: shard.App(req.GetApp()), Shard: shard.ID(req.GetShard())}); err != nil {
		return nil, err
	}
	return new(pb.ReleaseQuarantineResponse), nil
}

// GetStatus implements AdminServiceHandler. Everybody answers it.
func (a *Admin) GetStatus(ctx context.Context, _ *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	status := a.node.Status()
	out := &pb.GetStatusResponse{
		Cluster: status.Cluster, Allocator: status.Name, Leader: status.Leader, LeaderAddress: status.LeaderData,
		StoreError: status.StoreTrouble, Version: status.Version, Goroutines: count(runtime.NumGoroutine()),
	}
	view, err := a.view(ctx)
	if err != nil {
		return out, ctx.Err() // somebody else leads
	}
	out.Leading = view.Summary.Leading
	out.Epoch = wire.EpochToProto(view.Summary.Epoch)
	out.Unplaced = count(view.Summary.Unplaced)
	out.Lacking = count(view.Summary.Lacking)
	out.OpenMoves = count(view.Summary.OpenMoves)
	out.Hold = view.Summary.Hold
	out.LockAgeMs = view.Summary.LockAge.Milliseconds()
	out.LoopLateMs, out.LoopWaiting = view.Loop.Late.Milliseconds(), count(view.Loop.Waiting)
	out.Servers, out.Attached, out.Suspected = count(view.Summary.Servers), count(view.Summary.Attached), count(view.Summary.Suspected)
	out.Events = feed.PositionToProto(a.events.Newest())
	out.Quarantined = count(len(view.Summary.Quarantined))
	return out, nil
}

func count(n int) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

func (a *Admin) noSuchApp(field, name string) error {
	return wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, field,
		fmt.Sprintf("expected an app of this cluster, not %q%s", name, suggest.Or(shard.App(name), slices.Values(a.maps.Apps()))), "")
}
