package api

import (
	"context"
	"errors"
	"slices"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/whatif"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Simulate implements AdminServiceHandler. The leader's loop is asked for the state once; all that is solved is solved here, on a copy, and
// never handed back.
func (a *Admin) Simulate(ctx context.Context, req *pb.SimulateRequest) (*pb.SimulateResponse, error) {
	select {
	case a.simulating <- struct{}{}:
		defer func() { <-a.simulating }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	known, _, err := a.whole(ctx, shard.App(req.GetApp()))
	if err != nil {
		return nil, err
	}
	known.Input.Apart = a.places.Matrix()
	answer, err := whatif.Answer(ctx, known.Input, whatif.Policies{Cluster: a.policies.Cluster(), Others: resolve.Published{Maps: a.maps}}, req)
	if bad := (*wire.FieldError)(nil); errors.As(err, &bad) {
		return nil, invalid(err)
	}
	return answer, err
}

// whole is a whole app as placement sees it, and its spec.
func (a *Admin) whole(ctx context.Context, app shard.App) (*Explained, *ledger.Spec, error) {
	leader := a.node.Leader()
	if leader == nil {
		return nil, nil, a.notLeader()
	}
	view, err := leader.View(ctx)
	if err != nil {
		return nil, nil, a.lost(err)
	}
	at := slices.IndexFunc(view.Specs, func(s ledger.Spec) bool { return s.Name == app })
	if at < 0 {
		return nil, nil, a.noSuchApp("app", string(app))
	}
	id, ok := a.anyShard(&view.Specs[at])
	if !ok {
		return nil, nil, wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_INVALID, "app",
			"expected an app with shards: create some with `shardmanager shards create "+string(app)+"`", "")
	}
	known, err := leader.Explain(ctx, app, id)
	switch {
	case err != nil:
		return nil, nil, a.lost(err)
	case known.Refusal != nil:
		return nil, nil, answerTo(known.Refusal)
	}
	return known, &view.Specs[at], nil
}

// anyShard is the id of a shard of an app: the state of the whole app comes with what is known of any of them.
func (a *Admin) anyShard(spec *ledger.Spec) (shard.ID, bool) {
	if !spec.Space.Named {
		return spec.Space.Hash.ID(0), true
	}
	m, ok := a.maps.Map(spec.Name)
	if !ok || m.Names == nil {
		return "", false
	}
	for i := range m.Names.Len() {
		if id := m.Names.ID(shard.Index(i)); id != "" {
			return id, true
		}
	}
	return "", false
}
