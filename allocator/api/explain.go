package api

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/whatif"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// maxDecisions is how many decisions about a shard are told.
const maxDecisions = 20

// Explain implements AdminServiceHandler.
func (a *Admin) Explain(ctx context.Context, req *pb.ExplainRequest) (*pb.ExplainResponse, error) {
	leader := a.node.Leader()
	if leader == nil {
		return nil, a.notLeader()
	}
	select {
	case a.explaining <- struct{}{}:
		defer func() { <-a.explaining }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	app, id := shard.App(req.GetApp()), shard.ID(req.GetShard())
	known, err := leader.Explain(ctx, app, id)
	if err != nil {
		return nil, a.lost(err)
	}
	if known.Refusal != nil {
		return nil, answerTo(known.Refusal)
	}
	view, err := leader.View(ctx)
	if err != nil {
		return nil, a.lost(err)
	}
	known.Input.Apart = a.places.Matrix()
	notes := a.policies.Resolve(ctx, &known.Input, resolve.Published{Maps: a.maps})
	out, err := explanationToProto(known, shard.ServerID(req.GetReplica()))
	if err != nil {
		return nil, err
	}
	out.Notes = append(notes[:len(notes):len(notes)], out.Notes...)
	for _, e := range a.events.Of(app, id, maxDecisions) {
		out.Decisions = append(out.Decisions, feed.ToProto(e))
	}
	for _, m := range view.Moves.Finished {
		if m.App == app && m.Shard == id {
			out.Finished = append(out.Finished, moveToProto(m))
		}
	}
	return out, nil
}

// explanationToProto converts what is known of a shard, with the candidates of one of its replicas; no server: of the one that is decided next.
func explanationToProto(known *Explained, replica shard.ServerID) (*pb.ExplainResponse, error) {
	s := known.Shard
	out := &pb.ExplainResponse{
		App: string(s.App), Shard: string(s.Shard), Term: uint64(s.Term), Move: uint64(s.Move),
		Primary: string(s.Primary), Incarnation: uint64(s.Incarnation), PrimaryTerm: uint64(s.PrimaryTerm),
		Serving: s.Serving, Pending: s.Pending, Unplaced: s.Unplaced, Phase: pb.MovePhase(s.Phase), Quarantine: s.Quarantine,
	}
	if s.Primary != "" {
		out.Owner = serverToProto(s.Owner)
	}
	for _, r := range s.Replicas {
		out.Replicas = append(out.Replicas, &pb.ReplicaStatus{
			Server: string(r.Server), Incarnation: uint64(r.Incarnation), Role: pb.Role(r.Role), Progress: pb.SecondaryProgress(r.Progress), Down: r.Down,
		})
	}
	out.ReplicasMissing, out.ReplicasWhy = count(s.Missing), s.Scaled
	if s.Moving {
		out.Open = moveToProto(s.Open)
	}
	targets := 0
	for _, server := range known.Input.Servers {
		if server.Accepts {
			targets++
		}
	}
	out.WaitsFor = s.WaitsFor(targets)
	if !whatif.Explain(known.Input, s.Index, replica, out) {
		return nil, noReplica(out.GetPlaces(), replica)
	}
	return out, nil
}

// noReplica refuses a server that has no replica of a shard.
func noReplica(places []*pb.ReplicaPlace, replica shard.ServerID) error {
	var servers []string
	for _, p := range places {
		if p.GetServer() != "" {
			servers = append(servers, p.GetServer())
		}
	}
	expected := "a server with a replica of the shard, which has none"
	if len(servers) > 0 {
		expected = "a server with a replica of the shard (" + strings.Join(servers, ", ") + ")"
	}
	return wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "replica", fmt.Sprintf("expected %s, not %q", expected, replica), "")
}
