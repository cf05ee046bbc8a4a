package controller

import (
	"context"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/eventspec"
	"github.com/shardmanager/shardmanager/internal/nomad/steering"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// job is one of Nomad's.
type job struct{ namespace, id string }

// gathering is a view in the making.
type gathering struct {
	c    *Controller
	view steering.View
	seen map[string]bool // ids of allocations
	jobs map[job]bool    // that are loaded
}

// look gathers what is to be known. First what Nomad plans, and then who serves: so a server is never taken for gone that came meanwhile.
func (c *Controller) look(ctx context.Context) (*steering.View, error) {
	g := &gathering{c: c, seen: map[string]bool{}, jobs: map[job]bool{}, view: steering.View{Now: time.Now()}}
	var err error
	if g.view.Nodes, err = c.nomad.Draining(ctx); err != nil {
		return nil, err
	}
	if g.view.Deployments, err = c.nomad.Deployments(ctx); err != nil {
		return nil, err
	}
	listed, err := operator.Leader(ctx, c.leader, shardmanagerv1connect.AdminServiceClient.ListMaintenance, &pb.ListMaintenanceRequest{})
	if err != nil {
		return nil, err
	}
	open := false
	for _, e := range listed.GetEvents() {
		event := eventspec.FromProto(e)
		g.view.Events = append(g.view.Events, event)
		open = open || steering.Ours(event.ID) && !event.Over()
	}
	if len(g.view.Nodes)+len(g.view.Deployments) == 0 && !open {
		return &g.view, nil
	}
	servers, err := operator.Leader(ctx, c.leader, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{})
	if err != nil {
		return nil, err
	}
	for _, s := range servers.GetServers() {
		if s.GetState() != pb.ServerState_SERVER_STATE_ENDED {
			g.view.Servers = append(g.view.Servers, steering.Server{ID: shard.ServerID(s.GetServer().GetId()), Incarnation: shard.Incarnation(s.GetServer().GetIncarnation()),
				Attached: s.GetState() == pb.ServerState_SERVER_STATE_ATTACHED})
		}
	}
	return &g.view, g.allocations(ctx)
}

// allocations gathers those of the jobs that are deployed, of those with servers on nodes that are drained, and of those with servers in open events.
func (g *gathering) allocations(ctx context.Context) error {
	for _, d := range g.view.Deployments {
		if err := g.load(ctx, job{d.Namespace, d.Job}); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for _, s := range g.view.Servers {
		names[steering.AllocationOf(s.ID)] = true
	}
	for _, n := range g.view.Nodes {
		list, err := g.c.nomad.OnNode(ctx, n.ID)
		if err != nil {
			return err
		}
		for _, a := range list {
			if names[a.ID] || names[a.ID[:min(len(a.ID), 8)]] {
				if err := g.load(ctx, job{a.Namespace, a.Job}); err != nil {
					return err
				}
			}
		}
	}
	for _, e := range g.view.Events {
		if !steering.Ours(e.ID) {
			continue
		}
		for i := range e.Pieces {
			for _, covered := range e.Pieces[i].Covers {
				if err := g.find(ctx, steering.AllocationOf(covered.Server), e.Pieces[i].State.Over()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// find loads the job of an allocation by its id, or by the beginning of it. Of what is over only what is known already matters.
func (g *gathering) find(ctx context.Context, id string, over bool) error {
	if id == "" || over {
		return nil
	}
	for known := range g.seen {
		if strings.HasPrefix(known, id) {
			return nil
		}
	}
	list, err := g.c.nomad.Like(ctx, id)
	for _, a := range list {
		if err == nil {
			err = g.load(ctx, job{a.Namespace, a.Job})
		}
	}
	g.add(list) // an earlier job of the same name
	return err
}

func (g *gathering) load(ctx context.Context, j job) error {
	if g.jobs[j] {
		return nil
	}
	g.jobs[j] = true
	list, err := g.c.nomad.OfJob(ctx, j.namespace, j.id)
	g.add(list)
	return err
}

func (g *gathering) add(list []steering.Allocation) {
	for _, a := range list {
		if !g.seen[a.ID] {
			g.seen[a.ID] = true
			g.view.Allocations = append(g.view.Allocations, a)
		}
	}
}
